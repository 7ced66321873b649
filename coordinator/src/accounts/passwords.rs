//! Argon2id, off the async threads and a few at a time: each takes 19 MiB and a processor. Who waits, and how long, is in
//! `limits::turns`.

use std::net::IpAddr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, RECOMMENDED_SALT_LEN};
use credentials::password::{Policy, WeakPassword};
use kit::Entropy;
use limits::turns::{NoTurn, Turns};
use rand::Rng;
use zeroize::Zeroizing;

const AT_ONE_TIME: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords wait to be checked")]
    Busy,
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

impl From<NoTurn> for PasswordError {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::Busy => Self::Busy,
            NoTurn::Lost(error) => Self::Failed(error),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[derive(Clone)]
pub struct Passwords {
    entropy: Entropy,
    turns: Turns,
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
            turns: Turns::new(AT_ONE_TIME),
            decoy: Arc::from(""),
        };
        let nobody = IpAddr::from([0; 4]);
        let decoy = passwords.hash(password, nobody).await?.into();
        Ok(Self { decoy, ..passwords })
    }

    /// A PHC string with a fresh salt of a password that is good enough. `known` is what whoever guesses tries first.
    pub async fn hash_new(
        &self,
        password: Zeroizing<String>,
        policy: Policy,
        known: Vec<String>,
        from: IpAddr,
    ) -> Result<String, PasswordError> {
        policy.check_length(&password)?;
        let candidate = password.clone();
        let check = move || {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            policy.check(&candidate, &known)
        };
        self.turns.run(from, check).await??;
        self.hash(password, from).await
    }

    async fn hash(
        &self,
        password: Zeroizing<String>,
        from: IpAddr,
    ) -> Result<String, PasswordError> {
        let mut salt = [0; RECOMMENDED_SALT_LEN];
        self.entropy.rng().fill_bytes(&mut salt);
        let hash = move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash: PasswordHash| hash.to_string())
                .map_err(failed)
        };
        self.turns.run(from, hash).await?
    }

    /// Takes as long with `hash` absent as with it.
    pub async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
        from: IpAddr,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        let verify = move || {
            let parsed = PasswordHash::new(&hash).map_err(failed)?;
            let matches = Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok();
            Ok(matches && known)
        };
        self.turns.run(from, verify).await?
    }
}
