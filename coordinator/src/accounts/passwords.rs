//! Argon2id, off the async threads and a few at a time: each takes 19 MiB and a processor.
//!
//! Networks take turns: each has as many in the queue as can be hashed at once, and its others wait behind those. So
//! whoever sends many waits for himself, and everybody else for no more than what is being hashed. A network is an IPv4
//! /24 or an IPv6 /48, wider than what attempts are counted by: it costs nobody an attempt, only his place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, RECOMMENDED_SALT_LEN};
use kit::Entropy;
use model::node_state::NetworkPrefix;
use rand::Rng;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const AT_ONE_TIME: usize = 2;

/// Passwords that may wait, of one network and of all.
const WAITING_OF_ONE: usize = 256;
const WAITING: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords wait to be checked")]
    Busy,
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[derive(Clone)]
pub struct Passwords {
    entropy: Entropy,
    slots: Arc<Semaphore>,
    lines: Lines,
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
            lines: Lines::default(),
            decoy: Arc::from(""),
        };
        let nobody = IpAddr::from([0; 4]);
        let decoy = passwords.hash(password, nobody).await?.into();
        Ok(Self { decoy, ..passwords })
    }

    /// A PHC string with a fresh salt.
    pub async fn hash(
        &self,
        password: Zeroizing<String>,
        from: IpAddr,
    ) -> Result<String, PasswordError> {
        let mut salt = [0; RECOMMENDED_SALT_LEN];
        self.entropy.rng().fill_bytes(&mut salt);
        self.run(from, move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash: argon2::password_hash::phc::PasswordHash| hash.to_string())
                .map_err(failed)
        })
        .await?
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
        self.run(from, move || {
            let parsed = PasswordHash::new(&hash).map_err(failed)?;
            let matches = Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok();
            Ok(matches && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        from: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.lines.join(from)?;
        let turn = Arc::clone(&place.turns).acquire_owned().await;
        let turn = turn.map_err(failed)?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(failed)?;
        tokio::task::spawn_blocking(move || {
            let _held = (slot, turn, place);
            work()
        })
        .await
        .map_err(failed)
    }
}

/// Those who wait, by network. A line is there as long as somebody stands in it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<HashMap<Option<NetworkPrefix>, Line>>>);

struct Line {
    turns: Arc<Semaphore>,
    waiting: usize,
}

struct Place {
    lines: Lines,
    network: Option<NetworkPrefix>,
    turns: Arc<Semaphore>,
}

impl Lines {
    fn join(&self, from: IpAddr) -> Result<Place, PasswordError> {
        let network = NetworkPrefix::of(from);
        let mut lines = self.lock();
        let waiting: usize = lines.values().map(|line| line.waiting).sum();
        let line = lines.entry(network).or_insert_with(|| Line {
            turns: Arc::new(Semaphore::new(AT_ONE_TIME)),
            waiting: 0,
        });
        // Who is alone in his network is let in whatever others do: there are no more of them than connections.
        if line.waiting >= WAITING_OF_ONE || (line.waiting > 0 && waiting >= WAITING) {
            return Err(PasswordError::Busy);
        }
        line.waiting += 1;
        Ok(Place {
            lines: self.clone(),
            network,
            turns: Arc::clone(&line.turns),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<NetworkPrefix>, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.network) {
            line.waiting -= 1;
            if line.waiting == 0 {
                lines.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_fills_its_own_line_and_no_other() {
        let lines = Lines::default();
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let places: Vec<Place> = (0..WAITING_OF_ONE)
            .map(|last| lines.join(IpAddr::from([203, 0, 113, last as u8])))
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(lines.join(address("203.0.113.1")).is_err());
        let other = lines.join(address("198.51.100.1")).unwrap();
        assert_eq!(other.turns.available_permits(), AT_ONE_TIME);
        drop(places);
        lines.join(address("203.0.113.1")).unwrap();
        drop(other);
        assert!(lines.lock().is_empty(), "nobody waits, nothing is kept");
    }

    #[tokio::test]
    async fn a_newcomer_waits_for_what_is_being_hashed_and_not_for_who_came_before() {
        let passwords = Passwords::new(&Entropy::seeded(1)).await.unwrap();
        let (begin, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let wait = Arc::new(Mutex::new(wait));
        let crowd: Vec<_> = (0..10)
            .map(|_| {
                let (passwords, wait) = (passwords.clone(), Arc::clone(&wait));
                tokio::spawn(async move {
                    let step = move || wait.lock().unwrap().recv().is_ok();
                    passwords.run([203, 0, 113, 1].into(), step).await.unwrap()
                })
            })
            .collect();
        while passwords.slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let newcomer = tokio::spawn(async move {
            let from = [198, 51, 100, 1].into();
            passwords.run(from, || ()).await.unwrap();
        });
        // It stands in the queue before anything of the crowd goes on.
        tokio::task::yield_now().await;
        for _ in 0..AT_ONE_TIME {
            begin.send(()).unwrap();
        }
        newcomer.await.unwrap();
        let finished = crowd.iter().filter(|one| one.is_finished()).count();
        assert!(finished <= AT_ONE_TIME, "{finished}");
        drop(begin);
        for one in crowd {
            one.await.unwrap();
        }
    }
}
