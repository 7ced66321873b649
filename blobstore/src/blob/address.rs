//! Where the bytes of a blob are.

use proto::BlobId;

use super::{Area, BlobState, Row};

/// Where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    pub segment: u64,
    pub position: u64,
}

/// Where a blob is: by its name in an area, or at a location in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub id: BlobId,
    pub area: Area,
    pub length: u64,
    pub location: Option<Location>,
}

impl Address {
    pub fn of(row: &Row) -> Self {
        Self {
            id: row.id,
            area: match row.state {
                BlobState::Live | BlobState::Corrupt | BlobState::Lost => Area::Blobs,
                BlobState::Trashed => Area::Trash,
            },
            length: row.length,
            location: row.location,
        }
    }

    /// Of a blob that no row knows.
    pub fn unknown(id: BlobId) -> Self {
        Self {
            id,
            area: Area::Blobs,
            length: 0,
            location: None,
        }
    }
}
