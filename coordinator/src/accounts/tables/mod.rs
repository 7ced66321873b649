//! The only SQL on users, refresh tokens and access keys.

pub mod access_keys;
pub mod refresh_tokens;
pub mod users;
