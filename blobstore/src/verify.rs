//! Reads everything and compares it with the catalogue, changing nothing. For `chunks verify` and
//! `status`; may run beside a node that writes.

use std::time::Duration;
use std::{fmt, io};

use proto::BlobId;

use crate::blob::{Address, Area, BadLabel, BlobState, Prefix, Row, Tally};
use crate::catalogue::{CatalogueError, Readers};
use crate::layout::{Content, Entry, Layout, Part, ReconcileError};

/// Longer than the writer takes for a batch.
const A_MOMENT: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub id: BlobId,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The bytes do not hash to the id.
    Corrupt,
    /// The bytes are whole, what stands beside them is not.
    Label(BadLabel),
    /// A row without bytes.
    Missing,
    /// Bytes without a row.
    Unlisted,
    /// The row says something else than the disk.
    WrongState(BlobState),
    Unreadable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("corrupt: its bytes do not hash to its id"),
            Self::Label(error) => write!(f, "readable, but {error}"),
            Self::Missing => f.write_str("missing: the catalogue lists it, the disk lacks it"),
            Self::Unlisted => f.write_str("on disk, but not in the catalogue"),
            Self::WrongState(state) => write!(f, "the catalogue wrongly has it as {state:?}"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Hands every problem to `found` and calls `read` for every blob that was read.
pub fn verify(
    layout: &dyn Layout,
    readers: &Readers,
    mut found: impl FnMut(Finding),
    mut read: impl FnMut(u64),
) -> Result<(), ReconcileError> {
    for prefix in Prefix::all() {
        for row in readers.prefix_rows(prefix)? {
            let mut problem = check(layout, &row, &mut read)?;
            // A node may have changed the blob in between: only what is still wrong is wrong.
            if problem.is_some() {
                problem = match readers.row(&row.id)? {
                    Some(row) => check(layout, &row, &mut |_| {})?,
                    None => None,
                };
            }
            if let Some(problem) = problem {
                found(Finding {
                    id: row.id,
                    problem,
                });
            }
        }
    }
    for part in layout.parts()? {
        for id in unlisted(layout, readers, part)? {
            found(Finding {
                id,
                problem: Problem::Unlisted,
            });
        }
    }
    Ok(())
}

fn check(
    layout: &dyn Layout,
    row: &Row,
    read: &mut impl FnMut(u64),
) -> io::Result<Option<Problem>> {
    let found = match layout.find(&row.id, Some(row)) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Some(Problem::Missing)),
        Err(error) => return Ok(Some(Problem::Unreadable(error.to_string()))),
    };
    Ok(match found.content {
        Content::Missing => Some(Problem::Missing),
        Content::Corrupt => {
            read(0);
            Some(Problem::Corrupt)
        }
        Content::Whole { data, label } => {
            read(data.len() as u64);
            match label {
                Err(error) => Some(Problem::Label(error)),
                Ok(_) => misplaced(row.state, found.area),
            }
        }
    })
}

fn misplaced(state: BlobState, area: Area) -> Option<Problem> {
    match (state, area) {
        (BlobState::Live, Area::Blobs) | (BlobState::Trashed, Area::Trash) => None,
        (state, _) => Some(Problem::WrongState(state)),
    }
}

/// On disk, while no row says that it is there. What is just being stored or removed is given a moment.
fn unlisted(
    layout: &dyn Layout,
    readers: &Readers,
    part: Part,
) -> Result<Vec<BlobId>, ReconcileError> {
    let is_listed = |entry: &Entry| {
        let row = readers.row(&entry.id)?;
        Ok::<_, CatalogueError>(row.is_some_and(|row| row.location == entry.location))
    };
    let mut suspects = Vec::new();
    for entry in layout.list(part)? {
        if !is_listed(&entry)? {
            suspects.push(entry);
        }
    }
    if !suspects.is_empty() {
        std::thread::sleep(A_MOMENT);
    }
    let mut unlisted = Vec::new();
    for entry in suspects {
        let address = Address {
            id: entry.id,
            area: entry.area,
            length: entry.length,
            location: entry.location,
        };
        if layout.is_there(&address)? && !is_listed(&entry)? {
            unlisted.push(entry.id);
        }
    }
    Ok(unlisted)
}

/// All that has bytes on disk, by what the disk says.
pub fn measure(layout: &dyn Layout) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for part in layout.parts()? {
        for entry in layout.list(part)? {
            tally.blobs += 1;
            tally.bytes += entry.length;
            tally.disk_bytes += entry.disk_bytes;
        }
    }
    Ok(tally)
}
