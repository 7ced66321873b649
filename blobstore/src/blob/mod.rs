//! What a store speaks of: a blob on its way to the disk, its row in the catalogue, and where its bytes are.
//!
//! Nothing here touches the disk. Layouts and catalogue know each other only by these types, so neither
//! has to import the other. Rejected: each type beside the code that makes it, which tied layouts,
//! catalogue and writer into one circle.

mod address;
mod area;
mod label;

use bytes::Bytes;
use proto::{BlobId, Locator};

pub use address::{Address, Location};
pub use area::{Area, Prefix};
pub(crate) use label::field;
pub use label::{BadLabel, Label};

/// No blob is longer: twice what the largest frame carries. Bounds what a damaged file can make a
/// reader allocate.
pub const MAX_BLOB_LEN: usize = 10 * 1024 * 1024;

/// A blob on its way to the disk. `data` hashes to `id`; the caller has checked that.
#[derive(Debug, Clone)]
pub struct NewBlob {
    pub id: BlobId,
    pub locator: Locator,
    pub stored_at_ms: u64,
    pub data: Bytes,
    /// It goes into the trash right away, where it has been since then (Unix ms). Blobs come this way
    /// only from another place on the same disk.
    pub trashed_at_ms: Option<u64>,
    /// Until when it stays there at least, if its removal was put off (Unix ms).
    pub deferred_until_ms: Option<u64>,
}

impl NewBlob {
    pub fn label(&self) -> Label {
        Label {
            length: self.data.len() as u64,
            stored_at_ms: self.stored_at_ms,
            locator: self.locator,
        }
    }

    pub fn area(&self) -> Area {
        match self.trashed_at_ms {
            Some(_) => Area::Trash,
            None => Area::Blobs,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobState {
    Live,
    /// In the trash since `state_at`.
    Trashed,
    /// On disk, but its bytes no longer hash to its id.
    Corrupt,
    /// Its file is gone.
    Lost,
}

impl BlobState {
    pub const ALL: [Self; 4] = [Self::Live, Self::Trashed, Self::Corrupt, Self::Lost];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: BlobId,
    pub length: u64,
    pub stored_at_ms: u64,
    pub locator: Locator,
    pub state: BlobState,
    pub state_at_ms: u64,
    /// With what stands beside the blob's bytes, and padding.
    pub disk_bytes: u64,
    /// `None` where each blob is a file, or nothing is left of this one.
    pub location: Option<Location>,
    /// Of trash whose removal was put off: until when, in Unix ms.
    pub deferred_until_ms: Option<u64>,
}

impl Row {
    /// Of a blob that has just been written.
    pub fn of(blob: &NewBlob, disk_bytes: u64, location: Option<Location>) -> Self {
        Self {
            id: blob.id,
            length: blob.data.len() as u64,
            stored_at_ms: blob.stored_at_ms,
            locator: blob.locator,
            state: match blob.trashed_at_ms {
                Some(_) => BlobState::Trashed,
                None => BlobState::Live,
            },
            state_at_ms: blob.trashed_at_ms.unwrap_or(blob.stored_at_ms),
            disk_bytes,
            location,
            deferred_until_ms: blob.trashed_at_ms.and(blob.deferred_until_ms),
        }
    }

    /// Nothing is left of the blob.
    pub fn lost(self, at_ms: u64) -> Self {
        Self {
            state: BlobState::Lost,
            state_at_ms: at_ms,
            disk_bytes: 0,
            location: None,
            deferred_until_ms: None,
            ..self
        }
    }
}

/// How many blobs, their own bytes, and what they take on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    pub blobs: u64,
    pub bytes: u64,
    pub disk_bytes: u64,
}

/// What is in the trash because the brake has put its removal off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Deferred {
    pub held: Tally,
    /// Until when the first of it stays, in Unix ms.
    pub first_until_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub live: Tally,
    pub trashed: Tally,
    pub corrupt: Tally,
    pub lost: Tally,
}

impl Counts {
    /// What has a file on disk.
    pub fn on_disk(&self) -> Tally {
        let kinds = [self.live, self.trashed, self.corrupt];
        Tally {
            blobs: kinds.iter().map(|tally| tally.blobs).sum(),
            bytes: kinds.iter().map(|tally| tally.bytes).sum(),
            disk_bytes: kinds.iter().map(|tally| tally.disk_bytes).sum(),
        }
    }
}
