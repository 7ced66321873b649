//! The blob store: durable files, an index over them, a quota before them.
//!
//! [`Store`] is the face. Work that touches the disk runs on blocking threads (reads, hashing,
//! staging) or on the one writer thread (everything that changes what is held); the async threads
//! only wait. Every queue on the way is bounded, in items and in bytes.

mod area;
mod catalogue;
mod core;
mod disk;
mod files;
mod pool;
mod quota;
mod reader;
mod reconcile;
mod scrub;
mod trailer;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome, Locator};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::clock::{Clock, unix_ms};

pub use area::{Area, Prefix};
pub use catalogue::{BlobState, Catalogue, CatalogueError, Counts, Readers, Row, Tally};
pub use files::{Content, FilesLayout, Flushed, MAX_BLOB_LEN, NewBlob, Staged};
pub use quota::{DISK_RESERVE, Full, Space, disk_space, used_bytes};
pub use reader::BlobReader;
pub use reconcile::{ReconcileError, Reconciled, reconcile};
pub use scrub::{ScrubStatus, Scrubber};
pub use trailer::{BadTrailer, TRAILER_LEN, Trailer};
pub use verify::{Finding, Problem, measure, verify};

use core::{Core, Prepared, Stats};
use writer::{Command, Writer};

/// Commands that may wait for the writer.
const WRITE_QUEUE: usize = 256;
/// Blobs that may be on their way to the disk, in units of 4 KiB.
const WRITE_UNITS: u32 = 64 * 256;
const WRITE_UNIT: usize = 4096;
/// Reads under way at one time.
const READS: usize = 16;

/// Where the catalogue of a data directory is.
pub fn catalogue_path(dir: &Path) -> PathBuf {
    dir.join("catalogue.db")
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} cannot be opened as a blob store: {source}", dir.display())]
    Layout { dir: PathBuf, source: io::Error },
    #[error(
        "{} is damaged ({error}); make it anew from the blobs with \
         `storage-node chunks verify --rebuild`",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        error: CatalogueError,
    },
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error("the writer thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Why a blob was not stored. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    #[error("{0}")]
    Full(String),
    #[error("the bytes do not hash to the blob id")]
    HashMismatch,
    #[error("a blob has 1 to {MAX_BLOB_LEN} bytes")]
    BadLength,
    #[error("{0}")]
    Io(String),
    #[error("the store is closed")]
    Closed,
}

/// What a read brought. Only `Found` carries bytes, and they hash to the blob's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Found(Bytes),
    Missing,
    Corrupt,
    IoError(String),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    core: Arc<Core>,
    commands: mpsc::Sender<Command>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Store {
    /// Opens or creates the store in `dir`, which must exist. After a crash it first compares names
    /// on disk with the catalogue. Blocks.
    pub fn open(dir: &Path, capacity_bytes: u64, clock: Clock) -> Result<Self, OpenError> {
        let layout = FilesLayout::open(dir).map_err(|source| OpenError::Layout {
            dir: dir.to_owned(),
            source,
        })?;
        let path = catalogue_path(dir);
        let damaged = |error: CatalogueError| match error.is_damage() {
            true => OpenError::Damaged {
                path: path.clone(),
                error,
            },
            false => error.into(),
        };
        let mut catalogue = Catalogue::open(&path).map_err(damaged)?;
        if !catalogue.was_closed()? {
            let done = reconcile(&layout, &mut catalogue, clock(), || {})?;
            tracing::info!(?done, "compared the catalogue with the disk");
        }
        catalogue.mark_open()?;
        let quota = Arc::new(quota::Quota::new(dir, capacity_bytes));
        quota.set_counts(catalogue.counts()?);
        let core = Arc::new(Core {
            layout,
            readers: Readers::open(&path)?,
            quota,
            stats: Stats::default(),
            clock,
            fault: Mutex::default(),
        });
        let (commands, queue) = mpsc::channel(WRITE_QUEUE);
        let writer = Writer {
            core: Arc::clone(&core),
            catalogue,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            core,
            commands,
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITE_UNITS as usize)),
            writer: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Keeps a blob. When this returns `Ok` the blob survives a power failure; the number is when it
    /// was stored, in Unix ms. A blob that is held already is not written again.
    pub async fn put(&self, id: BlobId, locator: Locator, data: Bytes) -> Result<u64, PutError> {
        if data.is_empty() || data.len() > MAX_BLOB_LEN {
            return Err(PutError::BadLength);
        }
        let units = data.len().div_ceil(WRITE_UNIT) as u32;
        let permit = Arc::clone(&self.writes).acquire_many_owned(units).await;
        let permit = permit.map_err(|_| PutError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let core = Arc::clone(&self.core);
        let blob = NewBlob {
            id,
            locator,
            stored_at_ms: unix_ms((self.core.clock)()),
            data,
        };
        let prepared = spawn_blocking(move || core.prepare(&blob, reply)).await;
        match prepared.map_err(|_| PutError::Closed)?? {
            Prepared::Held { stored_at_ms } => Ok(stored_at_ms),
            Prepared::Flushed(put) => {
                let sent = self.commands.send(Command::Put(put)).await;
                sent.map_err(|_| PutError::Closed)?;
                let outcome = answer.await.map_err(|_| PutError::Closed)?;
                drop(permit);
                outcome
            }
        }
    }

    /// Reads a blob and checks it. A blob in the trash is brought back first.
    pub async fn get(&self, id: BlobId) -> Read {
        let read = self.read(id).await;
        match read {
            Ok(Content::Whole { data, .. }) => Read::Found(data),
            Ok(Content::Corrupt) => {
                tracing::error!(%id, "a blob no longer hashes to its id");
                self.inspect(id).await;
                Read::Corrupt
            }
            Ok(Content::Missing) => self.get_from_trash(id).await,
            Err(error) => Read::IoError(error.to_string()),
        }
    }

    /// Opens a blob to read parts of it, such as the leaves that a proof visits. `None`: it is not held.
    /// A blob in the trash is brought back first, as [`Self::get`] does.
    ///
    /// Nothing is read yet and nothing is checked: whoever finds that the bytes are not the blob's
    /// calls [`Self::recheck`].
    pub async fn open_blob(&self, id: BlobId) -> io::Result<Option<BlobReader>> {
        let open = || async {
            let core = Arc::clone(&self.core);
            let opened = spawn_blocking(move || core.layout.open_blob(Area::Blobs, &id));
            opened.await.map_err(io::Error::other)?
        };
        if let Some(reader) = open().await? {
            return Ok(Some(reader));
        }
        let restore = Deletion {
            blob_id: id,
            mode: DeletionMode::Restore,
        };
        match self.delete(vec![restore]).await[..] {
            [DeletionOutcome::Failed] => Err(io::Error::other("the blob cannot be restored")),
            _ => open().await,
        }
    }

    /// Reads a blob about which there is doubt and notes what is found. `None`: it is not held, or the
    /// store is closed.
    pub async fn recheck(&self, id: BlobId) -> Option<BlobState> {
        self.inspect(id).await
    }

    async fn get_from_trash(&self, id: BlobId) -> Read {
        let core = Arc::clone(&self.core);
        let known = spawn_blocking(move || core.readers.row(&id)).await;
        match known {
            Ok(Ok(None)) => return Read::Missing,
            Ok(Ok(Some(_))) => {}
            Ok(Err(error)) => return Read::IoError(error.to_string()),
            Err(error) => return Read::IoError(error.to_string()),
        }
        let restore = Deletion {
            blob_id: id,
            mode: DeletionMode::Restore,
        };
        self.delete(vec![restore]).await;
        match self.read(id).await {
            Ok(Content::Whole { data, .. }) => Read::Found(data),
            Ok(Content::Corrupt) => {
                self.inspect(id).await;
                Read::Corrupt
            }
            Ok(Content::Missing) => {
                tracing::error!(%id, "the file of a blob is gone");
                self.inspect(id).await;
                Read::Missing
            }
            Err(error) => Read::IoError(error.to_string()),
        }
    }

    /// One outcome for each deletion, in order.
    pub async fn delete(&self, deletions: Vec<Deletion>) -> Vec<DeletionOutcome> {
        let failed = vec![DeletionOutcome::Failed; deletions.len()];
        let at = (self.core.clock)();
        let command = |reply| Command::Delete {
            deletions,
            at,
            reply,
        };
        self.ask(command).await.unwrap_or(failed)
    }

    /// Removes what was thrown away `retention` ago or earlier; how many blobs that were. At most
    /// `limit` at a time, so that stores need not wait for long.
    pub async fn empty_trash(&self, retention: std::time::Duration, limit: u32) -> usize {
        let now = (self.core.clock)();
        let cutoff = now
            .checked_sub(retention)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let command = |reply| Command::EmptyTrash {
            cutoff,
            limit,
            reply,
        };
        self.ask(command).await.unwrap_or(0)
    }

    /// Counts of the catalogue as of its last change.
    pub fn counts(&self) -> Counts {
        self.core.quota.counts()
    }

    /// Rows in the order of their ids, behind `after`. Blocks for a moment.
    pub fn page(&self, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>, CatalogueError> {
        self.core.readers.page(after, limit)
    }

    pub fn space(&self) -> io::Result<Space> {
        self.core.quota.space()
    }

    /// Blobs stored and group commits since the store was opened.
    pub fn flushes(&self) -> (u64, u64) {
        let Stats { stored, batches } = &self.core.stats;
        (
            stored.load(Ordering::Relaxed),
            batches.load(Ordering::Relaxed),
        )
    }

    /// The error with which the disk refuses writes at present. Tries a small write before it says
    /// so: a disk that works again clears it.
    pub async fn fault(&self) -> Option<String> {
        self.core.fault()?;
        let core = Arc::clone(&self.core);
        let probed = spawn_blocking(move || match core.layout.probe() {
            Ok(()) => core.disk_works(),
            Err(error) => drop(core.disk_failed(&error)),
        });
        let _ = probed.await;
        self.core.fault()
    }

    /// Finishes what waits and closes the catalogue. Later calls are refused.
    pub async fn close(&self) {
        self.writes.close();
        let _ = self.ask(Command::Close).await;
        let thread = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = spawn_blocking(move || thread.join()).await;
        }
    }

    async fn read(&self, id: BlobId) -> io::Result<Content> {
        let _permit = self.reads.acquire().await.map_err(io::Error::other)?;
        let core = Arc::clone(&self.core);
        let read = spawn_blocking(move || core.layout.read(Area::Blobs, &id));
        read.await.map_err(io::Error::other)?
    }

    async fn inspect(&self, id: BlobId) -> Option<BlobState> {
        let at = (self.core.clock)();
        self.ask(|reply| Command::Inspect { id, at, reply })
            .await
            .flatten()
    }

    /// `None` when the store is closed.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
