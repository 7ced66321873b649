//! Files: upload, download, deletion.

use std::sync::Arc;
use std::time::Duration;

use kit::{Clock, Entropy, Wake};
use sqlx::PgPool;

use self::upload::chunk_commit::ChunkCommits;
use self::upload::single_chunk_commit::{FileCommits, Rules};
use self::upload::turns::Turns;
use crate::billing::Billing;
use crate::blobs::Blobs;
use crate::blobs::memory::MemoryBudget;
use crate::config::{DownloadsConfig, UploadsConfig};
use crate::metrics::Metrics;

pub mod delete;
pub mod download;
pub mod jobs;
pub mod listing;
pub mod renewal;
pub mod tables;
pub mod upload;

/// What files work with.
pub struct Files {
    pub db: PgPool,
    pub blobs: Arc<Blobs>,
    pub billing: Arc<Billing>,
    pub uploads: UploadsConfig,
    pub downloads: DownloadsConfig,
    /// How long a client may send or take nothing.
    pub idle_timeout: Duration,
    pub upload_memory: MemoryBudget,
    pub download_memory: MemoryBudget,
    pub chunk_commits: ChunkCommits,
    pub file_commits: FileCommits,
    /// What files of a single chunk go by.
    pub rules: Rules,
    /// Sendings of one chunk take turns.
    pub turns: Turns,
    /// A file was deleted or an upload given up: its chunks can be taken away.
    pub forget_wake: Wake,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub entropy: Entropy,
}
