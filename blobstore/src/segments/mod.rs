//! Blobs as records of segments: numbered files that only grow, up to 1 GiB each.
//!
//! ```text
//! segments/0000000001    records, one behind the other: see `record`
//! ```
//! One flush makes a whole batch durable, and no file has to be created, renamed or looked up for a
//! blob. Invariants: a position is used once (only what the catalogue never knew is overwritten, at the
//! start), so a location names one record for ever; a record is wiped only after the row that pointed
//! to it is gone, and only when its header still names the blob that was meant. Two records of one
//! blob can exist for a moment; the later one counts.
//!
//! The trash is a mark in the header: nothing is moved. A removed blob's room is given back by punching
//! a hole; where the file system has none, the record is marked as dead and what is beside it is moved
//! elsewhere in time ([`Layout::needs_compaction`]). Rejected: tombstones as records of the log, which a
//! rebuild would have to replay in order and compaction to carry along; preallocation, since unwritten
//! extents cost the journal as much as growth does.

mod append;
mod open_files;
mod record;
mod recover;
mod remove;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use proto::BlobId;
use rustix::fs::FallocateFlags;

use crate::blob::{Address, Area, BadLabel, BlobState, Location, MAX_BLOB_LEN, NewBlob, Row};
use crate::catalogue::Catalogue;
use crate::disk::{
    Pool, create_dir, read_exactly_at, same_error, sync_dir, with_outcome_of, write_all_at,
};
use crate::layout::{
    BlobReader, Content, Destination, Entry, Found, Layout, LayoutKind, Part, Pins, ReconcileError,
    Reconciled, Recovery, Removed,
};

use append::{Active, Tail};
use open_files::OpenFiles;
use record::{ALIGNMENT, FATE_AT, Fate, HEADER_LEN, Header, span};
use scan::{Item, Scan};

const DIR: &str = "segments";
const SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentOptions {
    /// A segment that has this many bytes is not appended to any more.
    pub segment_bytes: u64,
    /// Whether to punch holes where the file system can.
    pub punch_holes: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            punch_holes: true,
        }
    }
}

#[derive(Debug)]
pub struct Segments {
    files: OpenFiles,
    options: SegmentOptions,
    tail: Mutex<Tail>,
    pins: Arc<Pins>,
    punches_holes: AtomicBool,
    pool: Option<Pool>,
}

type FileAndHeader = (Arc<File>, Result<Header, BadLabel>);

impl Segments {
    /// For reading only, beside a program that writes.
    pub fn attach(root: &Path) -> Self {
        Self {
            files: OpenFiles::new(root.join(DIR), false),
            options: SegmentOptions::default(),
            tail: Mutex::default(),
            pins: Arc::default(),
            punches_holes: AtomicBool::new(false),
            pool: None,
        }
    }

    /// Opens or creates the layout under `root`, which must exist. Until [`Layout::recover`] has looked
    /// at what is there, new records go into a new segment.
    pub fn open(root: &Path, options: SegmentOptions) -> io::Result<Self> {
        let dir = root.join(DIR);
        create_dir(&dir)?;
        sync_dir(root)?;
        let layout = Self {
            files: OpenFiles::new(dir, true),
            options,
            pool: Some(Pool::new()?),
            ..Self::attach(root)
        };
        let newest = layout.files.numbers()?.last().copied();
        layout.lock_tail().next = newest.map_or(1, |newest| newest + 1);
        let punches = options.punch_holes && layout.try_a_hole()?;
        layout.punches_holes.store(punches, Ordering::Relaxed);
        Ok(layout)
    }

    /// The header at a location; `None` when its segment is gone or ends before it.
    fn header(&self, at: Location) -> io::Result<Option<FileAndHeader>> {
        let Some(file) = self.files.get(at.segment)? else {
            return Ok(None);
        };
        let mut bytes = [0; HEADER_LEN];
        match file.read_exact_at(&mut bytes, at.position) {
            Ok(()) => Ok(Some((file, Header::decode(&bytes, at)))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what was changed in these segments durable, side by side.
    fn sync(&self, segments: &BTreeSet<u64>) -> io::Result<()> {
        let mut flushes = Vec::new();
        for number in segments {
            if let Some(file) = self.files.get(*number)? {
                flushes.push(move || file.sync_all());
            }
        }
        let outcomes = match &self.pool {
            Some(pool) => pool.run_all(flushes),
            None => flushes.into_iter().map(|flush| flush()).collect(),
        };
        outcomes.into_iter().collect()
    }

    /// Whether the file system can punch holes. Any other answer than that it cannot is an error.
    fn try_a_hole(&self) -> io::Result<bool> {
        let path = self.files.dir().join("probe");
        let try_it = || {
            let file = File::create(&path)?;
            let tried = write_all_at(&file, &mut [IoSlice::new(&[1; 4096])], 0)
                .and_then(|()| punch(&file, 0, ALIGNMENT));
            std::fs::remove_file(&path)?;
            tried
        };
        match try_it() {
            Ok(()) => Ok(true),
            Err(error) if knows_no_holes(&error) => Ok(false),
            // A full disk keeps a node from storing, not from starting.
            Err(error) if error.kind() == ErrorKind::StorageFull => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn lock_tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layout for Segments {
    fn kind(&self) -> LayoutKind {
        LayoutKind::Segments
    }

    fn disk_bytes(&self, length: u64) -> u64 {
        span(length)
    }

    fn append(&self, batch: &[NewBlob]) -> Vec<io::Result<Option<Location>>> {
        let mut tail = self.lock_tail();
        let mut outcomes = Vec::with_capacity(batch.len());
        while let rest = &batch[outcomes.len()..]
            && !rest.is_empty()
        {
            match self.append_run(&mut tail, rest) {
                (_, Ok(locations)) => outcomes.extend(locations.into_iter().map(|at| Ok(Some(at)))),
                (_, Err(error)) => {
                    outcomes.extend(rest.iter().map(|_| Err(same_error(&error))));
                }
            }
        }
        outcomes
    }

    /// The place is not used again: whether the rows were entered after all is not certain.
    fn undo(&self, appended: &[Address]) {
        let mut begins: BTreeMap<u64, u64> = BTreeMap::new();
        for at in appended.iter().filter_map(|address| address.location) {
            let first = begins.entry(at.segment).or_insert(at.position);
            *first = at.position.min(*first);
        }
        self.lock_tail().active = None;
        for (number, begin) in begins {
            let cut = match begin {
                0 => self.files.remove(number),
                begin => match self.files.get(number) {
                    Ok(Some(file)) => file.set_len(begin),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = cut {
                tracing::warn!(segment = number, %error, "blobs that were refused stay until the next start");
            }
        }
    }

    fn read(&self, address: &Address) -> io::Result<Content> {
        let Some(at) = address.location else {
            return Ok(Content::Missing);
        };
        let Some(file) = self.files.get(at.segment)? else {
            return Ok(Content::Missing);
        };
        if address.length > MAX_BLOB_LEN as u64 {
            return Ok(Content::Corrupt);
        }
        let len = HEADER_LEN + address.length as usize;
        let Some(bytes) = read_exactly_at(&file, at.position, len)? else {
            return Ok(match file.metadata()?.len() > at.position {
                true => Content::Corrupt,
                false => Content::Missing,
            });
        };
        if BlobId::of(&bytes[HEADER_LEN..]) != address.id {
            return Ok(Content::Corrupt);
        }
        let label = match Header::decode(&bytes[..HEADER_LEN], at) {
            Ok(header) if header.id == address.id => Ok(header.label),
            Ok(_) => Err(BadLabel::Checksum),
            Err(error) => Err(error),
        };
        let data = Bytes::from(bytes).slice(HEADER_LEN..);
        Ok(Content::Whole { data, label })
    }

    fn open_blob(&self, address: &Address) -> io::Result<Option<BlobReader>> {
        let Some(at) = address.location else {
            return Ok(None);
        };
        let Some(file) = self.files.get(at.segment)? else {
            return Ok(None);
        };
        let pin = self.pins.pin(at);
        let start = at.position + HEADER_LEN as u64;
        Ok(Some(BlobReader::pinned(file, start, address.length, pin)))
    }

    fn is_there(&self, address: &Address) -> io::Result<bool> {
        let Some(at) = address.location else {
            return Ok(false);
        };
        let Some((file, Ok(header))) = self.header(at)? else {
            return Ok(false);
        };
        let end = at.position + HEADER_LEN as u64 + address.length;
        Ok(header.id == address.id
            && header.label.length == address.length
            && header.fate != Fate::Dead
            && file.metadata()?.len() >= end)
    }

    fn find(&self, id: &BlobId, known: Option<&Row>) -> io::Result<Option<Found>> {
        let Some(known) = known else {
            return Ok(None); // where to look is only known from the row
        };
        let address = Address::of(known);
        let content = match self.read(&address)? {
            Content::Missing => return Ok(None),
            content => content,
        };
        let header = match address.location {
            Some(at) => self.header(at)?.and_then(|(_, header)| header.ok()),
            None => None,
        };
        let (area, deferred_until_ms) = match header {
            Some(header) if header.id != *id => return Ok(None),
            Some(header) => (area_of(header.fate), header.fate.deferred_until_ms()),
            None => (Some(address.area), None),
        };
        Ok(area.map(|area| Found {
            content,
            area,
            length: address.length,
            disk_bytes: span(address.length),
            location: address.location,
            deferred_until_ms,
        }))
    }

    fn move_to(&self, to: Destination, at_ms: u64, blobs: &[Address]) -> Vec<io::Result<bool>> {
        let fate = match to {
            Destination::Blobs => Fate::Live,
            Destination::Trash { deferred_until_ms } => Fate::trashed(at_ms, deferred_until_ms),
        };
        let mut touched = BTreeSet::new();
        let mut mark = |address: &Address| {
            let Some(at) = address.location else {
                return Ok(false);
            };
            match self.header(at)? {
                None => Ok(false),
                Some((_, Ok(header))) if header.id != address.id => Ok(false),
                Some((file, Ok(header))) => {
                    touched.insert(at.segment);
                    let half = Header { fate, ..header }.encode_fate(at);
                    let there = at.position + FATE_AT as u64;
                    write_all_at(&file, &mut [IoSlice::new(&half)], there)?;
                    Ok(true)
                }
                // A header that has rotted: nothing to mark, and no rebuild would find it.
                Some((_, Err(_))) => Ok(true),
            }
        };
        let marked: Vec<io::Result<bool>> = blobs.iter().map(&mut mark).collect();
        let synced = self.sync(&touched);
        with_outcome_of(marked, &synced)
    }

    fn remove(&self, blobs: &[Address]) -> Vec<io::Result<Removed>> {
        self.wipe(blobs)
    }

    fn remove_segment(&self, number: u64) -> io::Result<()> {
        self.files.remove(number)
    }

    fn active_segment(&self) -> Option<u64> {
        let tail = self.lock_tail();
        tail.active.as_ref().map(|active| active.number)
    }

    fn finds_appended(&self) -> bool {
        true
    }

    fn needs_compaction(&self) -> bool {
        !self.punches_holes.load(Ordering::Relaxed)
    }

    fn parts(&self) -> io::Result<Vec<Part>> {
        let numbers = self.files.numbers()?;
        Ok(numbers.into_iter().map(Part::Segment).collect())
    }

    fn list(&self, part: Part) -> io::Result<Vec<Entry>> {
        let Part::Segment(number) = part else {
            return Ok(Vec::new());
        };
        let Some(file) = self.files.get(number)? else {
            return Ok(Vec::new()); // removed by now
        };
        let mut scan = Scan::new(&file, number, 0)?;
        let mut entries = Vec::new();
        while let Some(item) = scan.next()? {
            let Item::Record { at, header } = item else {
                continue;
            };
            entries.extend(area_of(header.fate).map(|area| Entry {
                id: header.id,
                area,
                length: header.label.length,
                disk_bytes: span(header.label.length),
                location: Some(at),
            }));
        }
        Ok(entries)
    }

    fn recover(
        &self,
        catalogue: &mut Catalogue,
        how: Recovery,
        at: Timestamp,
        step: &mut dyn FnMut(),
    ) -> Result<Reconciled, ReconcileError> {
        self.replay(catalogue, how, at, step)
    }

    fn probe(&self) -> io::Result<()> {
        let path = self.files.dir().join("probe");
        let mut file = File::create(&path)?;
        let written = file.write_all(b"probe").and_then(|()| file.sync_all());
        std::fs::remove_file(&path)?;
        written
    }
}

/// `None`: there is nothing there any more.
fn area_of(fate: Fate) -> Option<Area> {
    match fate {
        Fate::Live => Some(Area::Blobs),
        Fate::Trashed { .. } => Some(Area::Trash),
        Fate::Dead => None,
    }
}

fn knows_no_holes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::OPNOTSUPP, Errno::NOSYS].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn punch(file: &File, at: u64, len: u64) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, how, at, len)?)
}

/// What a row says of a record.
fn row_of(at: Location, header: &Header) -> Row {
    let (state, state_at_ms) = match header.fate {
        Fate::Trashed { at_ms, .. } => (BlobState::Trashed, at_ms),
        Fate::Live | Fate::Dead => (BlobState::Live, header.label.stored_at_ms),
    };
    Row {
        id: header.id,
        length: header.label.length,
        stored_at_ms: header.label.stored_at_ms,
        locator: header.label.locator,
        state,
        state_at_ms,
        disk_bytes: span(header.label.length),
        location: Some(at),
        deferred_until_ms: header.fate.deferred_until_ms(),
    }
}
