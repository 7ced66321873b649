//! The chunk plane: a chunk onto its nodes, back from them, and away.

use std::sync::Arc;

use crate::database::Pool;
use kit::{Clock, Entropy, Wake};

use self::crypto_pool::CryptoPool;
use self::metrics::BlobMetrics;
use self::read_failures::ReadFailures;
use self::receipts::Receipts;
use self::tentative::Purger;
use self::versions::Versions;
use crate::config::PlacementConfig;
use crate::fleet::Fleet;
use crate::keys::KeyRing;
use model::scheme::Scheme;

pub mod body;
pub mod brakes;
pub mod crypto_pool;
pub mod forget;
pub mod get;
pub mod metrics;
pub mod put;
pub mod read_failures;
pub mod receipts;
pub mod tables;
pub mod tentative;
pub mod versions;

/// What the chunk plane works with.
pub struct Blobs {
    pub db: Pool,
    pub fleet: Arc<Fleet>,
    pub keys: Arc<KeyRing>,
    pub crypto: CryptoPool,
    pub placement: PlacementConfig,
    pub versions: Versions,
    pub read_failures: ReadFailures,
    /// What nodes have signed for a moment ago.
    pub receipts: Receipts,
    pub purger: Purger,
    /// There is something for nodes to forget.
    pub purge_wake: Wake,
    pub metrics: BlobMetrics,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Blobs {
    /// How new chunks are kept.
    pub fn scheme(&self) -> Scheme {
        Scheme::copies(self.placement.replicas)
    }
}
