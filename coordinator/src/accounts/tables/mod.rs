//! The only SQL on users, sessions, refresh tokens and access keys.

pub mod access_keys;
pub mod refresh_tokens;
pub mod sessions;
pub mod users;
