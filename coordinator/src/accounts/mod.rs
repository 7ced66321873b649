//! Who somebody is: sign-up, login, sessions, access tokens, refresh tokens, passwords, access keys.

use std::sync::Arc;

use kit::{Clock, Entropy};
use sqlx::PgPool;

use self::known::KnownCredentials;
use self::passwords::Passwords;
use crate::config::AuthConfig;
use crate::keys::KeyRing;
use crate::security::SecurityLog;

pub mod access_keys;
pub mod access_tokens;
pub mod addresses;
pub mod auth;
pub mod jobs;
pub mod key_login;
pub mod known;
pub mod passwords;
pub mod principal;
pub mod profile;
pub mod secrets;
pub mod session;
pub mod sessions;
pub mod stored_key;
pub mod tables;

/// What accounts work with.
pub struct Accounts {
    pub db: PgPool,
    pub keys: Arc<KeyRing>,
    pub passwords: Passwords,
    pub known: KnownCredentials,
    pub security: Arc<SecurityLog>,
    pub config: AuthConfig,
    /// Accounts from one network and day that get the trial allowance.
    pub trial_accounts_per_network: u32,
    pub clock: Clock,
    pub entropy: Entropy,
}
