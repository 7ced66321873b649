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
use model::storage_class::{StorageClass, TooFewDomains, is_worth_coding};
use rules::placement;

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

/// Why nothing is stored in a class now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClassUnavailable {
    #[error(transparent)]
    TooFewDomains(#[from] TooFewDomains),
    /// It would take the pieces for copies.
    #[error("a coordinator of an older release runs, which cannot read class {0}")]
    OlderCoordinator(StorageClass),
}

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
    /// How new files are kept unless their owner asks for another class.
    pub fn copies(&self) -> Scheme {
        Scheme::copies(self.placement.replicas)
    }

    /// How a new file of this class is kept, by how many failure domains there are now.
    pub fn scheme(&self, class: StorageClass) -> Result<Scheme, ClassUnavailable> {
        if class == StorageClass::Standard {
            return Ok(self.copies());
        }
        if !self.keys.all_read_pieces() {
            return Err(ClassUnavailable::OlderCoordinator(class));
        }
        let candidates = self.fleet.candidates();
        let domains = placement::failure_domains(&candidates, self.placement.distinct_domains);
        Ok(class.scheme(self.copies(), domains)?)
    }

    /// As [`Self::scheme`], of a file of this size: a short one is kept as copies.
    pub fn scheme_for(
        &self,
        class: StorageClass,
        size_bytes: u64,
    ) -> Result<Scheme, ClassUnavailable> {
        let scheme = self.scheme(class)?;
        Ok(match is_worth_coding(scheme, size_bytes) {
            true => scheme,
            false => self.copies(),
        })
    }
}
