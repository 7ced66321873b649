//! A file, and one that is on its way in.

use jiff::Timestamp;
use proto::{FileId, MicroCredits};

use crate::chunking::ChunkLayout;
use crate::ids::UserId;
use crate::money::PricePerGbMonth;
use crate::scheme::Scheme;
use crate::terms::Terms;

/// A file that its owner can see.
#[derive(Debug, Clone)]
pub struct File {
    pub id: FileId,
    pub user_id: UserId,
    pub filename: String,
    pub content_type: String,
    /// Of all its bytes; `None` when it has not been computed.
    pub sha256: Option<[u8; 32]>,
    pub layout: ChunkLayout,
    pub scheme: Scheme,
    pub created_at: Timestamp,
    pub completed_at: Timestamp,
    pub paid_until: Timestamp,
    pub terms: Terms,
    /// The first month and all renewals.
    pub paid: MicroCredits,
    /// The part of it that was trial credit.
    pub trial: MicroCredits,
    pub price: PricePerGbMonth,
    /// Since when it could not be renewed.
    pub grace_since: Option<Timestamp>,
}

/// A file that is on its way in.
#[derive(Debug, Clone)]
pub struct UploadingFile {
    pub id: FileId,
    /// `None` while a body of unknown length is being read.
    pub size_bytes: Option<u64>,
    pub chunk_size: u32,
    pub scheme: Scheme,
    pub terms: Terms,
}

impl UploadingFile {
    pub fn layout(&self) -> Option<ChunkLayout> {
        self.size_bytes
            .map(|size| ChunkLayout::new(size, self.chunk_size))
    }
}
