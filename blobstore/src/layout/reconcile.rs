//! What the disk says about a blob, as a row. The disk is right.

use std::io;

use jiff::Timestamp;
use proto::{BlobId, Locator};

use kit::unix_ms;

use super::{Content, Found, Layout};
use crate::blob::{Area, BlobState, Row};
use crate::catalogue::CatalogueError;

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("the blobs cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What was put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Rows made or changed because of what is on disk.
    pub adopted: u64,
    /// Blobs that are gone from the disk.
    pub lost: u64,
}

/// Reads one blob and says what its row should be; `None`: there is nothing to keep a row for.
///
/// Trash without a known time counts as thrown away now, which keeps it longer rather than shorter.
pub(crate) fn examine(
    layout: &dyn Layout,
    id: &BlobId,
    known: Option<&Row>,
    at: Timestamp,
) -> io::Result<Option<Row>> {
    let now_ms = unix_ms(at);
    let no_locator = Locator::from_bytes([0; Locator::LEN]);
    let mut row = Row {
        id: *id,
        length: known.map_or(0, |known| known.length),
        stored_at_ms: known.map_or(now_ms, |known| known.stored_at_ms),
        locator: known.map_or(no_locator, |known| known.locator),
        state: BlobState::Lost,
        state_at_ms: now_ms,
        disk_bytes: 0,
        location: None,
        deferred_until_ms: None,
    };
    match layout.find(id, known)? {
        None if known.is_none_or(|known| known.state == BlobState::Trashed) => return Ok(None),
        None => {}
        Some(found) => describe(&mut row, found, known.is_some()),
    }
    row.deferred_until_ms = match known {
        _ if row.state != BlobState::Trashed => None,
        Some(known) if known.state == BlobState::Trashed => known.deferred_until_ms,
        _ => row.deferred_until_ms,
    };
    row.state_at_ms = match known {
        Some(known) if known.state == row.state => known.state_at_ms,
        _ if row.state == BlobState::Live => row.stored_at_ms,
        _ => now_ms,
    };
    Ok(Some(row))
}

fn describe(row: &mut Row, found: Found, is_known: bool) {
    row.length = found.length;
    row.disk_bytes = found.disk_bytes;
    row.location = found.location;
    row.deferred_until_ms = found.deferred_until_ms;
    let whole = match found.content {
        Content::Whole {
            label: Ok(label), ..
        } => {
            row.stored_at_ms = label.stored_at_ms;
            row.locator = label.locator;
            true
        }
        // Without label and row nobody knows whose replica it is.
        Content::Whole { .. } => is_known,
        Content::Corrupt | Content::Missing => false,
    };
    row.state = match found.area {
        Area::Trash => BlobState::Trashed,
        Area::Blobs if whole => BlobState::Live,
        Area::Blobs => BlobState::Corrupt,
    };
}
