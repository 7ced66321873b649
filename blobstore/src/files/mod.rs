//! Blobs as one file each: simple, and plain to see for whoever looks into the directory.
//!
//! ```text
//! blobs/a/bc/<blob id>   the blob's bytes, then its trailer
//! trash/a/bc/<blob id>   the same, waiting for trash.retention to pass
//! tmp/<number>           being written; whatever is here at the start is left over from a crash
//! ```
//! Invariants: a file appears under `blobs/` only when its bytes are flushed, so a name there means a
//! blob that was whole once; an append reports success only when the name is flushed too. What needs a
//! flush is asked for side by side: see `disk/pool.rs`. Rejected: `syncfs` per batch, which waits for
//! every other program's dirty pages as well.

mod recover;
mod trailer;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use jiff::Timestamp;
use proto::BlobId;

use crate::blob::{Address, Area, Location, MAX_BLOB_LEN, NewBlob, Prefix, Row};
use crate::catalogue::Catalogue;
use crate::disk::{
    Pool, create_dir, read_exactly_at, rename, same_error, sync_dir, with_outcome_of, write_all_at,
};
use crate::layout::{
    BlobReader, Content, Destination, Entry, Found, Layout, LayoutKind, Part, ReconcileError,
    Reconciled, Recovery, Removed,
};

pub use trailer::TRAILER_LEN;

#[derive(Debug)]
pub struct FilesLayout {
    root: PathBuf,
    next_temp: AtomicU64,
    pool: Option<Pool>,
}

/// A file in `tmp/` whose bytes are on the disk for good. Dropping it removes it, unless it has got its
/// name by then.
#[derive(Debug)]
struct Unnamed {
    path: PathBuf,
    named: bool,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path); // else the next start removes it
        }
    }
}

impl FilesLayout {
    /// For reading only, beside a program that writes.
    pub fn attach(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            next_temp: AtomicU64::new(0),
            pool: None,
        }
    }

    /// Opens the layout under `root`, which must exist, and removes half-written files. One writer
    /// at a time.
    pub fn open(root: &Path) -> io::Result<Self> {
        let layout = Self {
            pool: Some(Pool::new()?),
            ..Self::attach(root)
        };
        for area in Area::BOTH {
            create_dir(&root.join(area.dir()))?;
        }
        let tmp = layout.tmp();
        create_dir(&tmp)?;
        sync_dir(root)?;
        for entry in fs::read_dir(&tmp)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(layout)
    }

    /// The blobs of one directory, in order. Files under names that are no blob ids are not listed.
    fn names(&self, area: Area, prefix: Prefix) -> io::Result<Vec<BlobId>> {
        let entries = match fs::read_dir(self.dir(area, prefix)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            ids.extend(id.filter(|id| Prefix::of(id) == prefix));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn read_in(&self, area: Area, id: &BlobId) -> io::Result<Content> {
        let Some(file) = self.open_file(area, id)? else {
            return Ok(Content::Missing);
        };
        let Some(data_len) = blob_len(file.metadata()?.len()) else {
            return Ok(Content::Corrupt);
        };
        let Some(bytes) = read_exactly_at(&file, 0, data_len + TRAILER_LEN)? else {
            return Ok(Content::Corrupt); // it was cut while it was read
        };
        if BlobId::of(&bytes[..data_len]) != *id {
            return Ok(Content::Corrupt);
        }
        let label = trailer::decode(&bytes[data_len..], id);
        let mut data = Bytes::from(bytes);
        data.truncate(data_len);
        Ok(Content::Whole { data, label })
    }

    fn open_file(&self, area: Area, id: &BlobId) -> io::Result<Option<File>> {
        match File::open(self.path(area, id)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes that a blob takes on disk, trailer included; `None` when there is no such file.
    fn size(&self, area: Area, id: &BlobId) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(area, id)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn temporary(&self) -> PathBuf {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        self.tmp().join(number.to_string())
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn dir(&self, area: Area, prefix: Prefix) -> PathBuf {
        let (first, rest) = prefix.dir_names();
        let mut path = self.root.join(area.dir());
        path.push(first);
        path.push(rest);
        path
    }

    fn path(&self, area: Area, id: &BlobId) -> PathBuf {
        let mut path = self.dir(area, Prefix::of(id));
        path.push(id.to_string());
        path
    }

    fn sync_dirs(&self, dirs: &BTreeSet<PathBuf>) -> io::Result<()> {
        let flush = |dir: PathBuf| move || sync_dir(&dir);
        let flushes = dirs.iter().cloned().map(flush).collect();
        self.run_all(flushes).into_iter().collect()
    }

    fn run_all<W>(&self, work: Vec<W>) -> Vec<io::Result<()>>
    where
        W: FnOnce() -> io::Result<()> + Send + 'static,
    {
        match &self.pool {
            Some(pool) => pool.run_all(work),
            None => work.into_iter().map(|work| work()).collect(),
        }
    }

    fn remove_everywhere(&self, id: &BlobId, dirs: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        for area in Area::BOTH {
            match fs::remove_file(self.path(area, id)) {
                Ok(()) => {
                    dirs.insert(self.dir(area, Prefix::of(id)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Writes a blob to a temporary file and waits until it is on the disk.
fn write_temporary(path: &Path, blob: &NewBlob) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let trailer = trailer::encode(&blob.label(), &blob.id);
    let mut slices = [IoSlice::new(&blob.data), IoSlice::new(&trailer)];
    write_all_at(&file, &mut slices, 0)?;
    file.sync_data()
}

impl Layout for FilesLayout {
    fn kind(&self) -> LayoutKind {
        LayoutKind::Files
    }

    fn disk_bytes(&self, length: u64) -> u64 {
        length + TRAILER_LEN as u64
    }

    /// Every file is written and flushed, all side by side; then all are named, and each directory is
    /// flushed once.
    fn append(&self, batch: &[NewBlob]) -> Vec<io::Result<Option<Location>>> {
        let (done, flushed) = sync_channel(batch.len());
        let writes = batch.iter().cloned().enumerate().map(|(at, blob)| {
            let unnamed = Unnamed {
                path: self.temporary(),
                named: false,
            };
            let done = done.clone();
            move || {
                write_temporary(&unnamed.path, &blob)?;
                let _ = done.send((at, unnamed));
                Ok(())
            }
        });
        let mut outcomes = self.run_all(writes.collect());
        drop(done);
        let mut dirs = BTreeSet::new();
        for (at, mut unnamed) in flushed {
            let name = self.path(batch[at].area(), &batch[at].id);
            outcomes[at] = rename(&unnamed.path, &name, &mut dirs);
            unnamed.named = outcomes[at].is_ok();
        }
        let synced = self.sync_dirs(&dirs);
        let outcome = |(blob, written): (&NewBlob, io::Result<()>)| {
            written?;
            synced.as_ref().map(|()| None).map_err(|error| {
                let _ = fs::remove_file(self.path(blob.area(), &blob.id));
                same_error(error)
            })
        };
        batch.iter().zip(outcomes).map(outcome).collect()
    }

    fn undo(&self, appended: &[Address]) {
        let mut dirs = BTreeSet::new();
        for address in appended {
            let path = self.path(address.area, &address.id);
            let _ = fs::remove_file(path); // else the next start adopts it
            dirs.insert(self.dir(address.area, Prefix::of(&address.id)));
        }
        let _ = self.sync_dirs(&dirs);
    }

    fn appended(&self, blobs: &[Address]) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        for address in blobs {
            let other = match address.area {
                Area::Blobs => Area::Trash,
                Area::Trash => Area::Blobs,
            };
            match fs::remove_file(self.path(other, &address.id)) {
                Ok(()) => {
                    dirs.insert(self.dir(other, Prefix::of(&address.id)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.sync_dirs(&dirs)
    }

    fn read(&self, address: &Address) -> io::Result<Content> {
        self.read_in(address.area, &address.id)
    }

    fn open_blob(&self, address: &Address) -> io::Result<Option<BlobReader>> {
        let Some(file) = self.open_file(address.area, &address.id)? else {
            return Ok(None);
        };
        let len = file.metadata()?.len().saturating_sub(TRAILER_LEN as u64);
        Ok(Some(BlobReader::new(Arc::new(file), 0, len)))
    }

    fn is_there(&self, address: &Address) -> io::Result<bool> {
        let size = self.size(address.area, &address.id)?;
        Ok(size == Some(self.disk_bytes(address.length)))
    }

    fn find(&self, id: &BlobId, _known: Option<&Row>) -> io::Result<Option<Found>> {
        for area in Area::BOTH {
            let content = match self.read_in(area, id)? {
                Content::Missing => continue,
                content => content,
            };
            let disk_bytes = self.size(area, id)?.unwrap_or(0);
            return Ok(Some(Found {
                content,
                area,
                length: disk_bytes.saturating_sub(TRAILER_LEN as u64),
                disk_bytes,
                location: None,
                deferred_until_ms: None,
            }));
        }
        Ok(None)
    }

    /// A name tells neither since when nor until when: after a rebuild the time in the trash begins anew.
    fn move_to(&self, to: Destination, _at_ms: u64, blobs: &[Address]) -> Vec<io::Result<bool>> {
        let area = to.area();
        let mut gained = BTreeSet::new();
        let mut lost = BTreeSet::new();
        let mut relocate = |address: &Address| {
            let source = self.path(address.area, &address.id);
            match rename(&source, &self.path(area, &address.id), &mut gained) {
                Ok(()) => {
                    lost.insert(self.dir(address.area, Prefix::of(&address.id)));
                    Ok(true)
                }
                // A crash may have come between an earlier move and its row.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Ok(self.size(area, &address.id)?.is_some())
                }
                Err(error) => Err(error),
            }
        };
        let moved: Vec<io::Result<bool>> = blobs.iter().map(&mut relocate).collect();
        // The new name first: a crash between the two may leave both, never neither.
        let synced = self.sync_dirs(&gained).and_then(|()| self.sync_dirs(&lost));
        with_outcome_of(moved, &synced)
    }

    /// By name, in both areas.
    fn remove(&self, blobs: &[Address]) -> Vec<io::Result<Removed>> {
        let mut dirs = BTreeSet::new();
        let mut remove = |address: &Address| {
            self.remove_everywhere(&address.id, &mut dirs)?;
            Ok(Removed::Done)
        };
        let removed: Vec<io::Result<Removed>> = blobs.iter().map(&mut remove).collect();
        let synced = self.sync_dirs(&dirs);
        with_outcome_of(removed, &synced)
    }

    fn parts(&self) -> io::Result<Vec<Part>> {
        Ok(Prefix::all().map(Part::Directory).collect())
    }

    fn list(&self, part: Part) -> io::Result<Vec<Entry>> {
        let Part::Directory(prefix) = part else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        for area in Area::BOTH {
            for id in self.names(area, prefix)? {
                entries.extend(self.size(area, &id)?.map(|disk_bytes| Entry {
                    id,
                    area,
                    length: disk_bytes.saturating_sub(TRAILER_LEN as u64),
                    disk_bytes,
                    location: None,
                }));
            }
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
        match how {
            Recovery::Closed => Ok(Reconciled::default()),
            Recovery::Crashed | Recovery::Rebuild => self.compare_names(catalogue, at, step),
        }
    }

    fn probe(&self) -> io::Result<()> {
        let path = self.temporary();
        let mut file = File::create(&path)?;
        let written = file.write_all(b"probe").and_then(|()| file.sync_all());
        fs::remove_file(&path)?;
        written
    }
}

/// Length of the blob in a file of this size, or `None` when no blob's file has it.
fn blob_len(file_len: u64) -> Option<usize> {
    let file_len = usize::try_from(file_len).ok()?;
    let len = file_len.checked_sub(TRAILER_LEN)?;
    (len <= MAX_BLOB_LEN).then_some(len)
}
