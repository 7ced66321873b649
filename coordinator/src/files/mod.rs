//! Files: upload, download, deletion.

use std::sync::Arc;
use std::time::Duration;

use crate::database::Pool;
use kit::{Clock, Entropy, Wake};

use self::metrics::FileMetrics;
use self::upload::chunk_commit::ChunkCommits;
use self::upload::pointing::Pointing;
use self::upload::single_chunk_commit::{FileCommits, Rules};
use self::upload::turns::Turns;
use crate::billing::Billing;
use crate::blobs::Blobs;
use crate::config::{DownloadsConfig, UploadsConfig};
use limits::memory::{Holder, MemoryBudget, MemoryShare};
use model::scheme::Scheme;

pub mod delete;
pub mod download;
pub mod ending;
pub mod jobs;
pub mod listing;
pub mod metrics;
pub mod renewal;
pub mod tables;
pub mod take_down;
pub mod upload;

/// Memory for the chunks of all uploads. What has arrived and its sealed copies are two budgets: a chunk that is whole
/// never waits for one that is not.
#[derive(Debug, Clone)]
pub struct UploadMemory {
    pub arriving: MemoryBudget,
    sealed: MemoryBudget,
}

impl UploadMemory {
    /// In the ratio of what a chunk and its copies need.
    pub fn new(bytes: u64, scheme: Scheme) -> Self {
        let arriving = bytes / u64::from(scheme.pieces() + 1);
        Self {
            arriving: MemoryBudget::new(arriving),
            sealed: MemoryBudget::new(bytes - arriving),
        }
    }

    /// Its budgets, by what they are called in the metrics.
    pub fn budgets(&self) -> [(&'static str, &MemoryBudget); 2] {
        [("uploads", &self.arriving), ("sealed_copies", &self.sealed)]
    }

    /// For the sealed copies, or the pieces, of a chunk.
    pub async fn sealed(&self, holder: Holder, scheme: Scheme, chunk_bytes: usize) -> MemoryShare {
        let stored = scheme.stored_bytes(chunk_bytes as u64);
        let bytes = u64::try_from(stored).unwrap_or(u64::MAX);
        let bytes = match scheme {
            Scheme::Copies { .. } => bytes,
            Scheme::Coded { .. } => bytes.saturating_mul(2), // pieces, and what they are sealed to
        };
        self.sealed.reserve_for(holder, bytes).await
    }
}

/// What files work with.
pub struct Files {
    pub db: Pool,
    pub blobs: Arc<Blobs>,
    pub billing: Arc<Billing>,
    pub uploads: UploadsConfig,
    pub downloads: DownloadsConfig,
    /// How long a client may send or take nothing.
    pub idle_timeout: Duration,
    pub upload_memory: UploadMemory,
    pub download_memory: MemoryBudget,
    pub chunk_commits: ChunkCommits,
    pub file_commits: FileCommits,
    /// What files of a single chunk go by.
    pub rules: Rules,
    /// Has names point to files.
    pub pointing: Arc<dyn Pointing>,
    /// Sendings of one chunk take turns.
    pub turns: Turns,
    /// A file was deleted or an upload given up: its chunks can be taken away.
    pub forget_wake: Wake,
    pub metrics: FileMetrics,
    pub clock: Clock,
    pub entropy: Entropy,
}
