//! How a volume keeps the bytes of its blobs. The narrow interface behind which the layouts stand:
//! append a batch durably, read, throw away and bring back, remove, iterate.
//!
//! A layout knows no catalogue while it works: it is told the [`Address`] of a blob and tells where it
//! has put one. Only [`Layout::recover`] compares the two, since what has to be compared after a crash
//! is different for each. Rejected: a generic parameter all through the store; a call through a table
//! costs nothing beside a flush.

mod pins;
mod reader;
mod reconcile;

use std::str::FromStr;
use std::{fmt, io};

use bytes::Bytes;
use jiff::Timestamp;
use proto::BlobId;
use serde::{Deserialize, Serialize};

use crate::blob::{Address, Area, BadLabel, Label, Location, NewBlob, Prefix, Row};
use crate::catalogue::Catalogue;

pub(crate) use pins::Pins;
pub use reader::BlobReader;
pub(crate) use reconcile::examine;
pub use reconcile::{ReconcileError, Reconciled};

/// Bytes of one batch, but for its last blob.
pub(crate) const MAX_BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// Which layout a volume has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutKind {
    /// Many blobs in large files that only grow.
    #[default]
    Segments,
    /// One file for each blob.
    Files,
}

impl LayoutKind {
    pub const ALL: [Self; 2] = [Self::Segments, Self::Files];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Files => "files",
        }
    }
}

impl fmt::Display for LayoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no layout of blobs: it is \"segments\" or \"files\"")]
pub struct UnknownLayout(String);

impl FromStr for LayoutKind {
    type Err = UnknownLayout;

    fn from_str(name: &str) -> Result<Self, UnknownLayout> {
        let mut kinds = Self::ALL.into_iter();
        let kind = kinds.find(|kind| kind.name() == name);
        kind.ok_or_else(|| UnknownLayout(name.to_owned()))
    }
}

/// What a read found. Only `Whole` carries bytes, and they hash to the blob's id.
#[derive(Debug)]
pub enum Content {
    Whole {
        data: Bytes,
        label: Result<Label, BadLabel>,
    },
    Missing,
    Corrupt,
}

/// A blob that was found on disk.
#[derive(Debug)]
pub struct Found {
    pub content: Content,
    pub area: Area,
    /// Bytes of the blob, as far as the disk tells.
    pub length: u64,
    pub disk_bytes: u64,
    pub location: Option<Location>,
    /// Of trash, as far as the disk tells: until when its removal was put off.
    pub deferred_until_ms: Option<u64>,
}

/// A name or a header on disk, read without the blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: BlobId,
    pub area: Area,
    pub length: u64,
    pub disk_bytes: u64,
    pub location: Option<Location>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Done,
    /// Somebody reads the bytes: their room is given back when they are removed once more.
    InUse,
}

/// What is listed in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Directory(Prefix),
    Segment(u64),
}

/// Where a blob goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Blobs,
    Trash {
        /// Until when it stays there at least, Unix ms, if its removal is put off.
        deferred_until_ms: Option<u64>,
    },
}

impl Destination {
    pub const TRASH: Self = Self::Trash {
        deferred_until_ms: None,
    };

    pub const fn area(self) -> Area {
        match self {
            Self::Blobs => Area::Blobs,
            Self::Trash { .. } => Area::Trash,
        }
    }

    pub(crate) const fn deferred_until_ms(self) -> Option<u64> {
        match self {
            Self::Blobs => None,
            Self::Trash { deferred_until_ms } => deferred_until_ms,
        }
    }
}

/// How much of the disk is compared with the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// After an orderly end.
    Closed,
    /// After a crash: what a crash can have left.
    Crashed,
    /// The catalogue is new and empty.
    Rebuild,
}

/// One writer, many readers. `append`, `undo`, `move_to`, `remove` and `recover` are the writer's.
pub trait Layout: fmt::Debug + Send + Sync {
    fn kind(&self) -> LayoutKind;

    /// What a blob of this length takes on disk.
    fn disk_bytes(&self, length: u64) -> u64;

    /// Writes the blobs durably, with as few flushes as can be. One outcome for each, in order: where
    /// it is, or why not; of what failed nothing is left.
    fn append(&self, batch: &[NewBlob]) -> Vec<io::Result<Option<Location>>>;

    /// Takes back what the last `append` has written, because it could not be entered.
    fn undo(&self, appended: &[Address]);

    /// To be called once the rows of what was appended are committed: earlier copies have to go, unless
    /// the catalogue has tombstones for them.
    fn appended(&self, _blobs: &[Address]) -> io::Result<()> {
        Ok(())
    }

    /// Reads a blob and checks its hash. Takes no lock that a writer holds.
    fn read(&self, address: &Address) -> io::Result<Content>;

    /// Opens a blob without reading it; `None` when its file is gone. The caller makes sure afterwards
    /// that the blob is still at this place; from then on its bytes stay until the reader is dropped.
    fn open_blob(&self, address: &Address) -> io::Result<Option<BlobReader>>;

    /// Whether something that looks like the whole blob is at its place.
    fn is_there(&self, address: &Address) -> io::Result<bool>;

    /// Looks for a blob wherever it may be, its row being `known`.
    fn find(&self, id: &BlobId, known: Option<&Row>) -> io::Result<Option<Found>>;

    /// Moves blobs to the trash or back, durably. `false`: it was not there. What is in the trash already is marked
    /// anew.
    fn move_to(&self, to: Destination, at_ms: u64, blobs: &[Address]) -> Vec<io::Result<bool>>;

    /// Removes blobs that no row has at these places any more, durably. Blobs that are not there are
    /// fine. Afterwards no rebuild brings them back.
    fn remove(&self, blobs: &[Address]) -> Vec<io::Result<Removed>>;

    /// Removes a segment that holds nothing.
    fn remove_segment(&self, _number: u64) -> io::Result<()> {
        Ok(())
    }

    /// The segment that blobs are appended to at present: not to be removed.
    fn active_segment(&self) -> Option<u64> {
        None
    }

    /// Whether the next start finds what was appended, although no row of it is left. Then a row need not
    /// be flushed beside its bytes.
    fn finds_appended(&self) -> bool {
        false
    }

    /// Whether removed blobs keep their room until what is beside them has been moved elsewhere.
    fn needs_compaction(&self) -> bool {
        false
    }

    /// All parts that there are, in order.
    fn parts(&self) -> io::Result<Vec<Part>>;

    /// Everything in a part.
    fn list(&self, part: Part) -> io::Result<Vec<Entry>>;

    /// Brings the catalogue in line with the disk, which is right. `step` is called after each part.
    fn recover(
        &self,
        catalogue: &mut Catalogue,
        how: Recovery,
        at: Timestamp,
        step: &mut dyn FnMut(),
    ) -> Result<Reconciled, ReconcileError>;

    /// Writes, flushes and removes a few bytes: whether the disk takes writes at this moment.
    fn probe(&self) -> io::Result<()>;
}
