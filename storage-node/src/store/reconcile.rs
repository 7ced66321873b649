//! Brings the catalogue in line with the disk. The disk is right.
//!
//! Runs over the names at the start after a crash, and over an empty catalogue to rebuild it: both
//! are the same work. A crash can leave a file without a row (it was flushed, not yet acknowledged:
//! it is kept) or a row in the wrong state; it never leaves a live row without a file.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use proto::{BlobId, Locator};

use super::area::{Area, Prefix};
use super::catalogue::{BlobState, Catalogue, CatalogueError, Row};
use super::files::{Content, FilesLayout};
use super::trailer::TRAILER_LEN;
use crate::clock::unix_ms;

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
    /// Rows made or changed because of a file.
    pub adopted: u64,
    /// Blobs whose file is gone.
    pub lost: u64,
}

/// Compares names, directory by directory, and reads only the blobs about which the two disagree.
/// `step` is called after each of the [`Prefix::COUNT`] directories.
pub fn reconcile(
    layout: &FilesLayout,
    catalogue: &mut Catalogue,
    at: Timestamp,
    mut step: impl FnMut(),
) -> Result<Reconciled, ReconcileError> {
    let mut done = Reconciled::default();
    for prefix in Prefix::all() {
        reconcile_prefix(layout, catalogue, prefix, at, &mut done)?;
        step();
    }
    Ok(done)
}

fn reconcile_prefix(
    layout: &FilesLayout,
    catalogue: &mut Catalogue,
    prefix: Prefix,
    at: Timestamp,
    done: &mut Reconciled,
) -> Result<(), ReconcileError> {
    let rows = catalogue.prefix_rows(prefix)?;
    let mut blobs: BTreeMap<BlobId, (Option<Row>, Option<Area>)> = rows
        .into_iter()
        .map(|row| (row.id, (Some(row), None)))
        .collect();
    // Where a file is in both areas, the one among the blobs counts.
    for area in [Area::Trash, Area::Blobs] {
        for id in layout.list(area, prefix)? {
            blobs.entry(id).or_default().1 = Some(area);
        }
    }
    let mut changes = Vec::new();
    for (id, (known, area)) in blobs {
        if !agree(known.as_ref(), area) {
            let found = examine(layout, &id, known.as_ref(), at)?;
            changes.push((id, found));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    catalogue.write(|tx| {
        for (id, found) in &changes {
            match found {
                Some(row) => tx.upsert(row)?,
                None => tx.remove(id)?,
            }
        }
        Ok(())
    })?;
    for (id, found) in changes {
        let state = found.map(|row| row.state);
        tracing::warn!(%id, ?state, "the catalogue and the disk disagreed about a blob");
        match state {
            Some(BlobState::Lost) | None => done.lost += 1,
            Some(_) => done.adopted += 1,
        }
    }
    Ok(())
}

fn agree(known: Option<&Row>, area: Option<Area>) -> bool {
    let expected = known.and_then(|row| match row.state {
        BlobState::Live | BlobState::Corrupt => Some(Area::Blobs),
        BlobState::Trashed => Some(Area::Trash),
        BlobState::Lost => None,
    });
    known.is_some() && expected == area
}

/// Reads one blob and says what its row should be; `None`: there is nothing to keep a row for.
///
/// Trash without a known time counts as thrown away now, which keeps it longer rather than shorter.
pub fn examine(
    layout: &FilesLayout,
    id: &BlobId,
    known: Option<&Row>,
    at: Timestamp,
) -> io::Result<Option<Row>> {
    let now_ms = unix_ms(at);
    let row = |length, stored_at_ms, locator, state| Row {
        id: *id,
        length,
        stored_at_ms,
        locator,
        state,
        state_at_ms: match known {
            Some(known) if known.state == state => known.state_at_ms,
            _ if state == BlobState::Live => stored_at_ms,
            _ => now_ms,
        },
    };
    let stored_at_ms = known.map_or(now_ms, |known| known.stored_at_ms);
    let locator = known.map_or(Locator::from_bytes([0; Locator::LEN]), |known| {
        known.locator
    });
    for area in Area::BOTH {
        let whole = match area {
            Area::Blobs => BlobState::Live,
            Area::Trash => BlobState::Trashed,
        };
        return Ok(Some(match layout.read(area, id)? {
            Content::Missing => continue,
            Content::Whole {
                data,
                trailer: Ok(trailer),
            } => row(
                data.len() as u64,
                trailer.stored_at_ms,
                trailer.locator,
                whole,
            ),
            Content::Whole { data, .. } if known.is_some() => {
                row(data.len() as u64, stored_at_ms, locator, whole)
            }
            // Without trailer and row nobody knows whose replica it is.
            Content::Whole { .. } | Content::Corrupt => {
                let size = layout.size(area, id)?.unwrap_or(0);
                let length = size.saturating_sub(TRAILER_LEN as u64);
                let state = match area {
                    Area::Blobs => BlobState::Corrupt,
                    Area::Trash => BlobState::Trashed,
                };
                row(length, stored_at_ms, locator, state)
            }
        }));
    }
    Ok(known
        .filter(|known| known.state != BlobState::Trashed)
        .map(|known| row(known.length, stored_at_ms, locator, BlobState::Lost)))
}
