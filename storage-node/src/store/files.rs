//! Blobs as one file each. The only module that touches them.
//!
//! ```text
//! blobs/a/bc/<blob id>   the blob's bytes, then its trailer
//! trash/a/bc/<blob id>   the same, waiting for trash.retention to pass
//! tmp/<number>           being written; whatever is here at the start is left over from a crash
//! ```
//! Invariants: a file appears under `blobs/` only when its bytes are flushed, so a name there means a
//! blob that was whole once; [`FilesLayout::commit`] reports success only when the name is flushed
//! too. Knows no catalogue: another layout can stand in its place behind the same functions.
//!
//! Writing is in three steps, so that callers fill and flush files side by side (`stage`, `flush`)
//! while one thread names them and waits for the directories on behalf of them all (`commit`).
//! Flushes are asked for at the same time wherever that is possible: see [`super::pool`]. Rejected:
//! `syncfs` per batch, which waits for every other program's dirty pages as well.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use proto::{BlobId, Locator};
use rustix::fs::Advice;

use super::area::{Area, Prefix};
use super::disk::{create_dir, read_exactly, rename, same_error, sync_dir, write_all};
use super::pool::Pool;
use super::reader::BlobReader;
use super::trailer::{BadTrailer, TRAILER_LEN, Trailer};

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
}

/// A file that is written but not flushed and has no name yet.
#[derive(Debug)]
pub struct Staged {
    file: File,
    unnamed: Unnamed,
}

/// A file whose bytes are on the disk for good and which lacks its name.
#[derive(Debug)]
pub struct Flushed(Unnamed);

/// A file in `tmp/`. Dropping it removes it.
#[derive(Debug)]
struct Unnamed {
    id: BlobId,
    path: PathBuf,
    renamed: bool,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path); // else the next start removes it
        }
    }
}

impl Staged {
    /// Waits until the bytes are on the disk. Not to be tried again: after a failed flush the kernel
    /// takes the pages for clean.
    pub fn flush(self) -> io::Result<Flushed> {
        self.file.sync_data()?;
        Ok(Flushed(self.unnamed))
    }
}

/// What a read found. Only `Whole` carries bytes, and they hash to the blob's id.
#[derive(Debug)]
pub enum Content {
    Whole {
        data: Bytes,
        trailer: Result<Trailer, BadTrailer>,
    },
    Missing,
    Corrupt,
}

#[derive(Debug)]
pub struct FilesLayout {
    root: PathBuf,
    next_temp: AtomicU64,
    pool: Option<Pool>,
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

    /// Writes the blobs durably: when this returns `Ok`, all of them survive a power failure.
    pub fn append(&self, batch: &[NewBlob]) -> io::Result<()> {
        let (done, flushed) = sync_channel(batch.len());
        let mut flushes = Vec::with_capacity(batch.len());
        for blob in batch {
            let staged = self.stage(blob)?;
            let done = done.clone();
            flushes.push(move || {
                let _ = done.send(staged.flush()?);
                Ok(())
            });
        }
        drop(done);
        self.run_all(flushes)
            .into_iter()
            .collect::<io::Result<()>>()?;
        self.commit(flushed.iter().collect()).into_iter().collect()
    }

    /// Writes a blob to a temporary file and starts its write-back. Nothing is durable yet.
    pub fn stage(&self, blob: &NewBlob) -> io::Result<Staged> {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp().join(number.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let unnamed = Unnamed {
            id: blob.id,
            path,
            renamed: false,
        };
        let mut staged = Staged { file, unnamed };
        let trailer = Trailer {
            length: blob.data.len() as u64,
            stored_at_ms: blob.stored_at_ms,
            locator: blob.locator,
        };
        write_all(&mut staged.file, &blob.data, &trailer.encode(&blob.id))?;
        // Starts the write-back without waiting, so that the flushes of a batch overlap. Dirty pages
        // stay in the cache. Advice only: a file system without it is slower, not wrong.
        let _ = rustix::fs::fadvise(&staged.file, 0, None, Advice::DontNeed);
        Ok(staged)
    }

    /// Gives the files their names and flushes those: each directory once, all side by side. One
    /// outcome for each file, in order; what failed is gone again.
    pub fn commit(&self, batch: Vec<Flushed>) -> Vec<io::Result<()>> {
        let mut dirs = BTreeSet::new();
        let renamed: Vec<io::Result<BlobId>> = batch
            .into_iter()
            .map(|Flushed(mut file)| {
                let name = self.path(Area::Blobs, &file.id);
                rename(&file.path, &name, &mut dirs)?;
                file.renamed = true;
                Ok(file.id)
            })
            .collect();
        let synced = self.sync_dirs(&dirs);
        let outcome = |renamed: io::Result<BlobId>| {
            let id = renamed?;
            synced.as_ref().map(drop).map_err(|error| {
                let _ = fs::remove_file(self.path(Area::Blobs, &id));
                same_error(error)
            })
        };
        renamed.into_iter().map(outcome).collect()
    }

    /// Reads a blob with one positional read and checks its hash.
    pub fn read(&self, area: Area, id: &BlobId) -> io::Result<Content> {
        let file = match File::open(self.path(area, id)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Missing),
            Err(error) => return Err(error),
        };
        let Some(data_len) = blob_len(file.metadata()?.len()) else {
            return Ok(Content::Corrupt);
        };
        let Some(bytes) = read_exactly(&file, data_len + TRAILER_LEN)? else {
            return Ok(Content::Corrupt); // it was cut while it was read
        };
        if BlobId::of(&bytes[..data_len]) != *id {
            return Ok(Content::Corrupt);
        }
        let trailer = Trailer::decode(&bytes[data_len..], id);
        let mut data = Bytes::from(bytes);
        data.truncate(data_len);
        Ok(Content::Whole { data, trailer })
    }

    /// Opens a blob without reading it.
    pub fn open_blob(&self, area: Area, id: &BlobId) -> io::Result<Option<BlobReader>> {
        let file = match File::open(self.path(area, id)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len().saturating_sub(TRAILER_LEN as u64);
        Ok(Some(BlobReader::new(Arc::new(file), 0, len)))
    }

    /// The bytes that a blob takes on disk, trailer included; `None` when there is no such file.
    pub fn size(&self, area: Area, id: &BlobId) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(area, id)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves blobs from one area to the other, durably. `false`: it was not there.
    pub fn relocate(&self, ids: &[BlobId], from: Area, to: Area) -> Vec<io::Result<bool>> {
        let mut gained = BTreeSet::new();
        let mut lost = BTreeSet::new();
        let moved: Vec<io::Result<bool>> = ids
            .iter()
            .map(|id| {
                let source = self.path(from, id);
                match rename(&source, &self.path(to, id), &mut gained) {
                    Ok(()) => {
                        lost.insert(self.dir(from, Prefix::of(id)));
                        Ok(true)
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .collect();
        // The new name first: a crash between the two may leave both, never neither.
        let synced = self.sync_dirs(&gained).and_then(|()| self.sync_dirs(&lost));
        with_outcome_of(moved, &synced)
    }

    /// Removes blobs from these areas, durably. Blobs that are not there are fine.
    pub fn remove(&self, ids: &[BlobId], areas: &[Area]) -> Vec<io::Result<()>> {
        let mut dirs = BTreeSet::new();
        let removed: Vec<io::Result<()>> = ids
            .iter()
            .map(|id| {
                for area in areas {
                    match fs::remove_file(self.path(*area, id)) {
                        Ok(()) => {
                            dirs.insert(self.dir(*area, Prefix::of(id)));
                        }
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .collect();
        let synced = self.sync_dirs(&dirs);
        with_outcome_of(removed, &synced)
    }

    /// The blobs of one directory, in order. Files under names that are no blob ids are not listed.
    pub fn list(&self, area: Area, prefix: Prefix) -> io::Result<Vec<BlobId>> {
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

    /// Writes, flushes and removes a few bytes: whether the disk takes writes at this moment.
    pub fn probe(&self) -> io::Result<()> {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp().join(number.to_string());
        let mut file = File::create(&path)?;
        let written = file.write_all(b"probe").and_then(|()| file.sync_all());
        fs::remove_file(&path)?;
        written
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
}

/// Length of the blob in a file of this size, or `None` when no blob's file has it.
fn blob_len(file_len: u64) -> Option<usize> {
    let file_len = usize::try_from(file_len).ok()?;
    let len = file_len.checked_sub(TRAILER_LEN)?;
    (len <= MAX_BLOB_LEN).then_some(len)
}

/// What the flush of the directories says holds for every file in them.
fn with_outcome_of<T>(results: Vec<io::Result<T>>, synced: &io::Result<()>) -> Vec<io::Result<T>> {
    let both = |result: io::Result<T>| match synced {
        Ok(()) => result,
        Err(error) => result.and(Err(same_error(error))),
    };
    results.into_iter().map(both).collect()
}
