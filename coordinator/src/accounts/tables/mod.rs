//! The only SQL on users, what is decided about them, sessions, tokens, second factors and access keys.

pub mod access_keys;
pub mod closed;
pub mod decisions;
pub mod passkeys;
pub mod refresh_tokens;
pub mod second_factors;
pub mod sessions;
pub mod standing;
pub mod tokens;
pub mod users;
