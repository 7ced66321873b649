//! Argon2id, off the async threads and a few at a time: each takes 19 MiB and a processor.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, RECOMMENDED_SALT_LEN};
use kit::Entropy;
use rand::Rng;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const AT_ONE_TIME: usize = 2;

#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct PasswordError(String);

#[derive(Clone)]
pub struct Passwords {
    entropy: Entropy,
    slots: Arc<Semaphore>,
    /// What a login is checked against when nobody has the address, so that it takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    pub async fn new(entropy: &Entropy) -> Result<Self, PasswordError> {
        let mut unguessable = Zeroizing::new([0; 32]);
        entropy.rng().fill_bytes(&mut unguessable[..]);
        let password = Zeroizing::new(hex::encode(&unguessable[..]));
        let passwords = Self {
            entropy: entropy.clone(),
            slots: Arc::new(Semaphore::new(AT_ONE_TIME)),
            decoy: Arc::from(""),
        };
        let decoy = passwords.hash(password).await?.into();
        Ok(Self { decoy, ..passwords })
    }

    /// A PHC string with a fresh salt.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        let mut salt = [0; RECOMMENDED_SALT_LEN];
        self.entropy.rng().fill_bytes(&mut salt);
        self.run(move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash: argon2::password_hash::phc::PasswordHash| hash.to_string())
                .map_err(|error| PasswordError(error.to_string()))
        })
        .await?
    }

    /// Takes as long with `hash` absent as with it.
    pub async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        self.run(move || {
            let parsed =
                PasswordHash::new(&hash).map_err(|error| PasswordError(error.to_string()))?;
            let matches = Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok();
            Ok(matches && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|error| PasswordError(error.to_string()))?;
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        })
        .await
        .map_err(|error| PasswordError(error.to_string()))
    }
}
