//! The only SQL on users and refresh tokens.

pub mod refresh_tokens;
pub mod users;
