//! Who somebody is: sign-up, login, access tokens, refresh tokens, passwords.

use std::sync::Arc;

use crate::database::Pool;
use kit::{Clock, Entropy};

use self::passwords::Passwords;
use crate::config::AuthConfig;
use crate::keys::KeyRing;

pub mod access_tokens;
pub mod addresses;
pub mod auth;
pub mod jobs;
pub mod passwords;
pub mod profile;
pub mod secrets;
pub mod tables;

/// What accounts work with.
pub struct Accounts {
    pub db: Pool,
    pub keys: Arc<KeyRing>,
    pub passwords: Passwords,
    pub config: AuthConfig,
    /// Accounts from one network and day that get the trial allowance.
    pub trial_accounts_per_network: u32,
    pub clock: Clock,
    pub entropy: Entropy,
}
