//! Who somebody is: sign-up, login, sessions, access tokens, refresh tokens, passwords, passkeys, second factors, access keys; and who may
//! not be let in.

use std::sync::Arc;

use crate::database::Pool;
use kit::{Clock, Entropy};

use self::known::KnownCredentials;
use self::letters::Desk;
use self::passwords::Passwords;
use crate::config::AuthConfig;
use crate::keys::KeyRing;
use crate::security::SecurityLog;
use credentials::password::Policy;

pub mod access_keys;
pub mod access_tokens;
pub mod addresses;
pub mod auth;
pub mod decisions;
pub mod jobs;
pub mod key_login;
pub mod known;
pub mod letters;
pub mod login_challenge;
pub mod passkey_check;
pub mod passkeys;
pub mod passwords;
pub mod principal;
pub mod profile;
pub mod recovery;
pub mod second_factor;
pub mod session;
pub mod sessions;
pub mod stored_key;
pub mod suspension;
pub mod tables;

pub use credentials::secrets;

/// What accounts work with.
pub struct Accounts {
    pub db: Pool,
    pub keys: Arc<KeyRing>,
    pub passwords: Passwords,
    pub known: KnownCredentials,
    pub security: Arc<SecurityLog>,
    pub config: AuthConfig,
    /// Where the site is; empty when nobody has said.
    pub public_url: String,
    /// For which passkeys are made, where the site has a name.
    pub site: Option<::passkeys::Site>,
    /// Takes orders for letters, where there is a mail server.
    pub desk: Option<Desk>,
    /// Accounts from one network and day that get the trial allowance.
    pub trial_accounts_per_network: u32,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Accounts {
    /// What somebody who guesses a password would try first: the account's address, and what this network is called.
    fn known_of(&self, address: &str) -> Vec<String> {
        let site = self.public_url.parse::<http::Uri>().ok();
        let host = site.as_ref().and_then(http::Uri::host).map(str::to_owned);
        let words = [
            "storage network",
            "coordinator",
            "storagenode",
            "microcredits",
        ];
        let known = words.iter().map(|word| (*word).to_owned());
        known.chain([address.to_owned()]).chain(host).collect()
    }

    /// What new passwords have to be like.
    pub fn password_policy(&self) -> Policy {
        Policy {
            least_characters: self.config.password_min_length,
            refuse_common: self.config.refuse_common_passwords,
        }
    }
}
