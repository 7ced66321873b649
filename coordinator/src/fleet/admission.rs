//! Who may connect to this coordinator: the registered nodes.
//!
//! The database is the list, for several coordinators share it. Answers are kept for a while in
//! bounded caches, so that neither heartbeats nor throwaway identities cost a query each.

use crate::fleet::tables;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::database::Pool;
use futures::FutureExt;
use futures::future::BoxFuture;
use network::{Admission, AuthMode, Multiaddr, PeerId, Refusal};
use proto::Roles;
use tokio::sync::Semaphore;

/// A node that was removed may connect for so long, and is told so when it says hello.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// A node that registers with another coordinator is let in here after so long at the latest.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
const MAX_CACHED: usize = 16_384;
/// Look-ups of strangers at one time; the pool's other connections are for those who are known.
const LOOKUPS: usize = 4;

#[derive(Debug)]
pub struct RegisteredPeers {
    db: Pool,
    mode: AuthMode,
    lookups: Semaphore,
    cache: Mutex<HashMap<PeerId, Cached>>,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    registered: bool,
    until: Instant,
}

impl RegisteredPeers {
    pub fn new(db: Pool, mode: AuthMode) -> Arc<Self> {
        Arc::new(Self {
            db,
            mode,
            lookups: Semaphore::new(LOOKUPS),
            cache: Mutex::default(),
        })
    }

    /// To be called when a registration has been committed: the node dials right after it.
    pub fn note_registered(&self, peer: PeerId) {
        self.remember(peer, true, Instant::now());
    }

    /// To be called when a registration has been taken back.
    pub fn note_removed(&self, peer: &PeerId) {
        self.lock().remove(peer);
    }

    pub async fn is_registered(&self, peer: &PeerId) -> sqlx::Result<bool> {
        if let Some(registered) = self.cached(peer, Instant::now()) {
            return Ok(registered);
        }
        let _turn = self.lookups.acquire().await;
        // Whoever had this turn before may have asked the same.
        if let Some(registered) = self.cached(peer, Instant::now()) {
            return Ok(registered);
        }
        let mut connection = self.db.acquire().await?;
        let node = tables::nodes::by_peer_id(&mut connection, peer).await?;
        self.remember(*peer, node.is_some(), Instant::now());
        Ok(node.is_some())
    }

    fn cached(&self, peer: &PeerId, now: Instant) -> Option<bool> {
        let cached = *self.lock().get(peer)?;
        (now < cached.until).then_some(cached.registered)
    }

    /// A "no" never goes before a "yes": the node may have registered while it was looked up.
    fn remember(&self, peer: PeerId, registered: bool, now: Instant) {
        let mut cache = self.lock();
        let known = cache
            .get(&peer)
            .is_some_and(|known| known.registered && now < known.until);
        if known && !registered {
            return;
        }
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| now < cached.until);
        }
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| cached.registered);
        }
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        let keep = if registered { KNOWN_FOR } else { UNKNOWN_FOR };
        let until = now + keep;
        cache.insert(peer, Cached { registered, until });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the network is given: it outlives neither the database pool nor the program. Whoever is let in may say what
/// nodes say; one that is not registered reads in the answer what to do.
#[derive(Debug, Clone)]
pub struct NodeAdmission(pub Arc<RegisteredPeers>);

impl Admission for NodeAdmission {
    fn admit(&self, peer: PeerId, from: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        let registered = Arc::clone(&self.0);
        async move {
            if registered.mode == AuthMode::Off {
                return Ok(Roles::NODE);
            }
            match (registered.is_registered(&peer).await, registered.mode) {
                (Ok(true), _) => Ok(Roles::NODE),
                (Ok(false), AuthMode::Learn) => {
                    tracing::info!(%peer, %from, "let in a peer that is not registered");
                    Ok(Roles::NODE)
                }
                (Ok(false), _) => Err(Refusal("it is not registered as a node".to_owned())),
                (Err(error), AuthMode::Learn) => {
                    tracing::warn!(%peer, %error, "let in a peer without knowing whether it is registered");
                    Ok(Roles::NODE)
                }
                (Err(error), _) => Err(Refusal(format!("it cannot be looked up: {error}"))),
            }
        }
        .boxed()
    }

    /// It was looked up a moment ago, where it was looked up at all.
    fn is_known(&self, peer: &PeerId) -> bool {
        self.0.cached(peer, Instant::now()) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    fn peers() -> Arc<RegisteredPeers> {
        let nowhere = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none");
        RegisteredPeers::new(Pool::new(nowhere.unwrap()), AuthMode::Enforce)
    }

    #[tokio::test]
    async fn a_registration_goes_before_a_look_up_that_came_too_early() {
        let (peers, peer, now) = (peers(), PeerId::random(), Instant::now());
        peers.remember(peer, false, now);
        assert_eq!(peers.cached(&peer, now), Some(false));
        assert_eq!(peers.cached(&peer, now + UNKNOWN_FOR), None);
        peers.note_registered(peer);
        peers.remember(peer, false, now);
        assert_eq!(peers.cached(&peer, now), Some(true));
        assert_eq!(peers.is_registered(&peer).await.ok(), Some(true));
    }

    #[tokio::test]
    async fn throwaway_identities_fill_no_memory_and_displace_no_node() {
        let (peers, node, now) = (peers(), PeerId::random(), Instant::now());
        peers.remember(node, true, now);
        for _ in 0..2 * MAX_CACHED {
            peers.remember(PeerId::random(), false, now);
        }
        assert!(peers.lock().len() <= MAX_CACHED);
        assert_eq!(peers.cached(&node, now), Some(true));
    }

    #[tokio::test]
    async fn without_a_database_the_known_are_let_in_and_strangers_are_not() {
        let (peers, node) = (peers(), PeerId::random());
        peers.note_registered(node);
        let admission = NodeAdmission(peers);
        let from: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let admitted = admission.admit(node, from.clone()).await;
        assert_eq!(admitted, Ok(Roles::NODE));
        assert!(admission.is_known(&node) && !admission.is_known(&PeerId::random()));
        assert!(admission.admit(PeerId::random(), from).await.is_err());
    }
}
