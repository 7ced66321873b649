//! The chunk plane: a chunk onto its nodes, back from them, and away.

use std::sync::Arc;

use kit::{Clock, Entropy, Wake};
use sqlx::PgPool;

use self::crypto_pool::CryptoPool;
use self::read_failures::ReadFailures;
use self::tentative::Purger;
use self::versions::Versions;
use crate::config::PlacementConfig;
use crate::fleet::Fleet;
use crate::keys::KeyRing;
use crate::metrics::Metrics;
use model::scheme::Scheme;

pub mod body;
pub mod brakes;
pub mod crypto_pool;
pub mod forget;
pub mod get;
pub mod memory;
pub mod put;
pub mod read_failures;
pub mod tables;
pub mod tentative;
pub mod versions;

/// What the chunk plane works with.
pub struct Blobs {
    pub db: PgPool,
    pub fleet: Arc<Fleet>,
    pub keys: Arc<KeyRing>,
    pub crypto: CryptoPool,
    pub placement: PlacementConfig,
    pub versions: Versions,
    pub read_failures: ReadFailures,
    pub purger: Purger,
    /// There is something for nodes to forget.
    pub purge_wake: Wake,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Blobs {
    /// How new chunks are kept.
    pub fn scheme(&self) -> Scheme {
        Scheme::copies(self.placement.replicas)
    }
}
