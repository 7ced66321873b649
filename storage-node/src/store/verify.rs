//! Reads everything and compares it with the catalogue, changing nothing. For `chunks verify` and
//! `status`; may run beside a node that writes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use proto::BlobId;

use super::area::{Area, Prefix};
use super::catalogue::{BlobState, CatalogueError, Readers, Row, Tally};
use super::files::{Content, FilesLayout};
use super::reconcile::ReconcileError;
use super::trailer::{BadTrailer, TRAILER_LEN};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub id: BlobId,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The bytes do not hash to the id.
    Corrupt,
    /// The bytes are whole, what stands behind them is not.
    Trailer(BadTrailer),
    /// A row without a file.
    Missing,
    /// A file without a row.
    Unlisted,
    /// The row says something else than where the file is.
    WrongState(BlobState),
    Unreadable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("corrupt: its bytes do not hash to its id"),
            Self::Trailer(error) => write!(f, "readable, but {error}"),
            Self::Missing => f.write_str("missing: the catalogue lists it, the disk lacks it"),
            Self::Unlisted => f.write_str("on disk, but not in the catalogue"),
            Self::WrongState(state) => write!(f, "the catalogue wrongly has it as {state:?}"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Hands every problem to `found` and calls `read` for every blob that was read.
pub fn verify(
    layout: &FilesLayout,
    readers: &Readers,
    mut found: impl FnMut(Finding),
    mut read: impl FnMut(u64),
) -> Result<(), ReconcileError> {
    for prefix in Prefix::all() {
        let mut blobs: BTreeMap<BlobId, Option<Area>> = BTreeMap::new();
        for row in readers.prefix_rows(prefix)? {
            blobs.insert(row.id, None);
        }
        for area in [Area::Trash, Area::Blobs] {
            for id in layout.list(area, prefix)? {
                blobs.insert(id, Some(area));
            }
        }
        for (id, area) in blobs {
            let mut problem = check(layout, readers, &id, area, &mut read)?;
            // A node may have changed the blob in between: only what is still wrong is wrong.
            if problem.is_some() {
                let area = locate(layout, &id)?;
                problem = check(layout, readers, &id, area, &mut |_| {})?;
            }
            if let Some(problem) = problem {
                found(Finding { id, problem });
            }
        }
    }
    Ok(())
}

fn locate(layout: &FilesLayout, id: &BlobId) -> io::Result<Option<Area>> {
    for area in Area::BOTH {
        if layout.size(area, id)?.is_some() {
            return Ok(Some(area));
        }
    }
    Ok(None)
}

fn check(
    layout: &FilesLayout,
    readers: &Readers,
    id: &BlobId,
    area: Option<Area>,
    read: &mut impl FnMut(u64),
) -> Result<Option<Problem>, CatalogueError> {
    let row = readers.row(id)?;
    let Some(area) = area else {
        return Ok(row.map(|_| Problem::Missing));
    };
    Ok(match layout.read(area, id) {
        Err(error) => Some(Problem::Unreadable(error.to_string())),
        Ok(Content::Missing) => row.map(|_| Problem::Missing),
        Ok(Content::Corrupt) => {
            read(0);
            Some(Problem::Corrupt)
        }
        Ok(Content::Whole { data, trailer }) => {
            read(data.len() as u64);
            match trailer {
                Err(error) => Some(Problem::Trailer(error)),
                Ok(_) => misplaced(row.as_ref(), area),
            }
        }
    })
}

fn misplaced(row: Option<&Row>, area: Area) -> Option<Problem> {
    match (row.map(|row| row.state), area) {
        (None, _) => Some(Problem::Unlisted),
        (Some(BlobState::Live), Area::Blobs) | (Some(BlobState::Trashed), Area::Trash) => None,
        (Some(state), _) => Some(Problem::WrongState(state)),
    }
}

/// Blobs that have a file, and their bytes without trailers, by what the disk says.
pub fn measure(layout: &FilesLayout) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for prefix in Prefix::all() {
        for area in Area::BOTH {
            for id in layout.list(area, prefix)? {
                if let Some(size) = layout.size(area, &id)? {
                    tally.blobs += 1;
                    tally.bytes += size.saturating_sub(TRAILER_LEN as u64);
                }
            }
        }
    }
    Ok(tally)
}
