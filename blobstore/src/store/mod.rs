//! The blob store: bytes on disk in one of two layouts, an index over them, a quota before them.
//!
//! [`Store`] is the face. Work that touches the disk runs on blocking threads (reads, hashing) or on the
//! one writer thread (everything that changes what is held); the async threads only wait. Every queue on
//! the way is bounded, in items and in bytes.

mod brake;
mod core;
mod errors;
mod inventory;
mod options;
mod quota;
mod reading;
mod scrub;
mod upkeep;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use proto::{BlobId, Deletion, DeletionOutcome, Locator};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use kit::{Clock, unix_ms};

use crate::blob::{BlobState, Counts, Deferred, MAX_BLOB_LEN, NewBlob, Row};
use crate::catalogue::{Catalogue, CatalogueError, Readers};
use crate::layout::{ReconcileError, Reconciled, Recovery};
use crate::layouts::open_layout;

pub use brake::Brake;
pub use errors::{OpenError, PutError};
pub use options::{DISK_RESERVE, StoreOptions};
pub use quota::{Full, Space};
pub use reading::Read;
pub use scrub::{ScrubStatus, Scrubber};

use core::{Core, Stats};
use writer::{Command, Put, Writer};

/// Commands that may wait for the writer.
const WRITE_QUEUE: usize = 256;
/// Blobs that may be on their way to the disk, in units of 4 KiB.
const WRITE_UNITS: u32 = 64 * 256;
const WRITE_UNIT: usize = 4096;
/// To hash so many bytes takes some 10 µs, less than to hand them over and to be woken again.
const FEW_BYTES: usize = 64 * 1024;
/// Reads under way at one time.
const READS: usize = 16;
/// Blobs that were read and are not sent yet, in units of 4 KiB.
const READ_UNITS: u32 = 64 * 256;

/// Where the catalogue of a data directory is.
pub fn catalogue_path(dir: &Path) -> PathBuf {
    dir.join("catalogue.db")
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    core: Arc<Core>,
    options: StoreOptions,
    commands: mpsc::Sender<Command>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    read_memory: Arc<Semaphore>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Store {
    /// Opens or creates the store in `dir`, which must exist. What a crash may have left is put right
    /// first; a catalogue that is gone is made anew from the blobs. Blocks.
    pub fn open(dir: &Path, options: StoreOptions, clock: Clock) -> Result<Self, OpenError> {
        let layout = open_layout(options.layout, dir, options.segments);
        let layout = layout.map_err(|source| OpenError::Layout {
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
        let is_new = !path.exists();
        let mut catalogue = Catalogue::open(&path).map_err(damaged)?;
        let how = match (is_new, catalogue.was_closed().map_err(damaged)?) {
            (true, _) => Recovery::Rebuild, // of a new store there is nothing to read
            (false, true) => Recovery::Closed,
            (false, false) => Recovery::Crashed,
        };
        let done = layout.recover(&mut catalogue, how, clock.now(), &mut || {});
        let done = done.map_err(|error| match error {
            ReconcileError::Catalogue(error) => damaged(error),
            error @ ReconcileError::Io(_) => error.into(),
        })?;
        if done != Reconciled::default() {
            tracing::info!(?done, "compared the catalogue with the disk");
        }
        catalogue.mark_open()?;
        let quota = Arc::new(quota::Quota::new(
            dir,
            options.capacity_bytes,
            options.disk_reserve_bytes,
        ));
        let counts = catalogue.counts().map_err(damaged)?;
        quota.set_counts(counts, catalogue.deferred().map_err(damaged)?);
        let core = Arc::new(Core {
            layout,
            readers: Readers::open(&path)?,
            quota,
            stats: Stats::default(),
            clock,
            fault: Mutex::default(),
        });
        let (commands, queue) = mpsc::channel(WRITE_QUEUE);
        let writer = Writer::new(Arc::clone(&core), catalogue, options.brake);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            core,
            options,
            commands,
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITE_UNITS as usize)),
            read_memory: Arc::new(Semaphore::new(READ_UNITS as usize)),
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
        let core = Arc::clone(&self.core);
        let blob = NewBlob {
            id,
            locator,
            stored_at_ms: unix_ms(self.core.clock.now()),
            data,
            trashed_at_ms: None,
            deferred_until_ms: None,
        };
        let few = blob.data.len() <= FEW_BYTES;
        let admit = move || core.admit(&blob).map(|reservation| (blob, reservation));
        let admitted = match few {
            true => admit(),
            false => spawn_blocking(admit).await.map_err(|_| PutError::Closed)?,
        };
        match admitted {
            Ok((blob, reservation)) => {
                let (reply, answer) = oneshot::channel();
                let put = Put {
                    blob,
                    reservation,
                    reply,
                };
                let sent = self.commands.send(Command::Put(Box::new(put))).await;
                sent.map_err(|_| PutError::Closed)?;
                let outcome = answer.await.map_err(|_| PutError::Closed)?;
                drop(permit);
                outcome
            }
            Err(full @ PutError::Full(_)) => {
                let core = Arc::clone(&self.core);
                let confirmed = spawn_blocking(move || core.confirm(&id, full)).await;
                confirmed.map_err(|_| PutError::Closed)?
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::put`] of a blob that is held; `None` when it is not. Writes nothing.
    pub async fn confirm(&self, id: BlobId, data: Bytes) -> Result<Option<u64>, PutError> {
        let core = Arc::clone(&self.core);
        let confirm = move || {
            if BlobId::of(&data) != id {
                return Err(PutError::HashMismatch);
            }
            let held = core.held(core.readers.row(&id))?;
            Ok(held.map(|row| row.stored_at_ms))
        };
        spawn_blocking(confirm)
            .await
            .map_err(|_| PutError::Closed)?
    }

    /// One outcome for each deletion, in order.
    pub async fn delete(&self, deletions: Vec<Deletion>) -> Vec<DeletionOutcome> {
        let failed = vec![DeletionOutcome::Failed; deletions.len()];
        let at = self.core.clock.now();
        let command = |reply| Command::Delete {
            deletions,
            at,
            reply,
        };
        self.ask(command).await.unwrap_or(failed)
    }

    /// Removes what was thrown away `retention` ago or earlier, and what was put off until now; how many blobs
    /// that were. At most `limit` at a time, so that stores need not wait for long.
    ///
    /// What was thrown away more recently than the brake holds purges goes only as far as the brake lets it: the trash
    /// is no way around it.
    pub async fn empty_trash(&self, retention: std::time::Duration, limit: u32) -> usize {
        let at = self.core.clock.now();
        let command = |reply| Command::EmptyTrash {
            retention,
            at,
            limit,
            reply,
        };
        self.ask(command).await.unwrap_or(0)
    }

    /// Moves a little of what is left in segments that are not worth their space, where that is the only
    /// way to have the space back. Bytes that were moved; 0: there is nothing to be done.
    pub async fn compact(&self) -> u64 {
        let at = self.core.clock.now();
        let command = |reply| Command::Compact { at, reply };
        self.ask(command).await.unwrap_or(0)
    }

    /// Counts of the catalogue as of its last change.
    pub fn counts(&self) -> Counts {
        self.core.quota.counts()
    }

    /// What is in the trash because its removal was put off, as of the last change.
    pub fn deferred(&self) -> Deferred {
        self.core.quota.deferred()
    }

    /// The row of each of these blobs, in order; `None` where there is none.
    pub async fn rows(&self, ids: Vec<BlobId>) -> io::Result<Vec<Option<Row>>> {
        let core = Arc::clone(&self.core);
        let look = move || ids.iter().map(|id| core.readers.row(id)).collect();
        let rows: Result<Vec<Option<Row>>, CatalogueError> =
            spawn_blocking(look).await.map_err(io::Error::other)?;
        rows.map_err(io::Error::other)
    }

    /// Rows in the order of their ids, behind `after`. Blocks for a moment.
    pub fn page(&self, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>, CatalogueError> {
        self.core.readers.page(after, limit)
    }

    /// Up to `limit` blobs that are damaged or gone and of which no coordinator knows yet. Blocks for a
    /// moment.
    pub fn losses(&self, limit: u32) -> Result<Vec<(BlobId, BlobState)>, CatalogueError> {
        self.core.readers.losses(limit)
    }

    /// A coordinator knows of these losses. `false` when this could not be noted.
    pub async fn clear_losses(&self, known: Vec<BlobId>) -> bool {
        let command = |reply| Command::ClearLosses { known, reply };
        self.ask(command).await.unwrap_or(false)
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

    /// The error with which disk or catalogue refuse writes at present. Tries a small write of both before
    /// it says so: what works again clears it.
    pub async fn fault(&self) -> Option<String> {
        self.core.fault()?;
        let _ = self.ask(Command::Probe).await; // a closed store keeps its fault
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

    async fn inspect(&self, id: BlobId) -> Option<BlobState> {
        let at = self.core.clock.now();
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
