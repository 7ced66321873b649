//! Moving a volume from one layout to the other, while no node runs on it.
//!
//! Batch by batch: bytes into the new layout, rows, then the old bytes away. So it needs little room, and
//! after an interruption the catalogue says what is still to be moved.

use std::io;

use jiff::Timestamp;
use proto::BlobId;

use kit::unix_ms;

use crate::blob::{Address, BlobState, NewBlob, Row};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::layout::{Content, Layout, LayoutKind, MAX_BATCH_BYTES, Removed};

const PAGE: u32 = 256;

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("a blob cannot be read or written: {0}")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Converted {
    pub moved: u64,
    /// Blobs whose bytes had rotted or were gone: there was nothing to move.
    pub lost: u64,
}

/// Moves every blob that is not in `to` yet. `step` hears of the bytes as they are moved.
pub fn convert(
    from: &dyn Layout,
    to: &dyn Layout,
    catalogue: &mut Catalogue,
    at: Timestamp,
    mut step: impl FnMut(u64),
) -> Result<Converted, ConvertError> {
    let mut done = Converted::default();
    let mut after: Option<BlobId> = None;
    loop {
        let rows = catalogue.page(after.as_ref(), PAGE)?;
        let Some(last) = rows.last() else {
            return Ok(done);
        };
        after = Some(last.id);
        let mut batch = Vec::new();
        let mut bytes = 0;
        for row in rows {
            if row.disk_bytes == 0 || is_in(to.kind(), &row) {
                continue;
            }
            bytes += row.length;
            batch.push(row);
            if bytes >= MAX_BATCH_BYTES {
                move_batch(
                    from,
                    to,
                    catalogue,
                    at,
                    std::mem::take(&mut batch),
                    &mut done,
                )?;
                step(std::mem::take(&mut bytes));
            }
        }
        move_batch(from, to, catalogue, at, batch, &mut done)?;
        step(bytes);
    }
}

fn is_in(layout: LayoutKind, row: &Row) -> bool {
    match layout {
        LayoutKind::Segments => row.location.is_some(),
        LayoutKind::Files => row.location.is_none(),
    }
}

fn move_batch(
    from: &dyn Layout,
    to: &dyn Layout,
    catalogue: &mut Catalogue,
    at: Timestamp,
    batch: Vec<Row>,
    done: &mut Converted,
) -> Result<(), ConvertError> {
    let old: Vec<Address> = batch.iter().map(Address::of).collect();
    let mut rows = Vec::with_capacity(batch.len());
    let mut blobs = Vec::with_capacity(batch.len());
    for (row, address) in batch.into_iter().zip(&old) {
        match from.read(address)? {
            Content::Whole { data, .. } => blobs.push(NewBlob {
                id: row.id,
                locator: row.locator,
                stored_at_ms: row.stored_at_ms,
                data,
                trashed_at_ms: (row.state == BlobState::Trashed).then_some(row.state_at_ms),
                deferred_until_ms: row.deferred_until_ms,
            }),
            Content::Missing | Content::Corrupt => {
                tracing::error!(id = %row.id, "a blob is gone or has rotted");
                done.lost += 1;
                rows.push(row.lost(unix_ms(at)));
            }
        }
    }
    let appended: Result<Vec<_>, io::Error> = to.append(&blobs).into_iter().collect();
    for (blob, location) in blobs.iter().zip(appended?) {
        let disk_bytes = to.disk_bytes(blob.data.len() as u64);
        rows.push(Row::of(blob, disk_bytes, location));
    }
    let addresses: Vec<Address> = rows.iter().map(Address::of).collect();
    let entered = catalogue.write(|tx| rows.iter().try_for_each(|row| tx.upsert(row)));
    if let Err(error) = entered {
        to.undo(&addresses);
        return Err(error.into());
    }
    to.appended(&addresses)?;
    done.moved += blobs.len() as u64;
    let mut wiped = Vec::new();
    for (address, removed) in old.iter().zip(from.remove(&old)) {
        if removed? == Removed::Done {
            wiped.extend(address.location);
        }
    }
    let empty = match from.kind() {
        LayoutKind::Segments => catalogue.empty_segments(None)?,
        LayoutKind::Files => Vec::new(),
    };
    for number in &empty {
        from.remove_segment(*number)?;
    }
    catalogue.write(|tx| {
        tx.clear_tombstones(&wiped)?;
        empty
            .iter()
            .try_for_each(|number| tx.forget_segment(*number))
    })?;
    Ok(())
}
