//! The thread that changes what is on disk: one for each data directory.
//!
//! It takes whatever waits, appends all blobs with one flush, commits their rows in one transaction and
//! answers them all: group commit, without ever holding the first one back on purpose.
//!
//! Order on disk: bytes, then row for a store; row, then bytes for a purge. So a crash may leave bytes
//! that no row knows, which the next start adopts or wipes, and never a live row without its bytes.
//! Where the next start finds what was appended, new rows are not flushed beside their bytes; rows that
//! replace others are, before what they replace is wiped.

mod compact;
mod removal;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, Deletion, DeletionOutcome};
use tokio::sync::{mpsc, oneshot};

use super::brake::Brake;
use super::core::Core;
use super::errors::PutError;
use super::quota::Reservation;
use crate::blob::{Address, BlobState, Location, NewBlob, Row};
use crate::catalogue::{Catalogue, CatalogueError, Changes};
use crate::layout::{MAX_BATCH_BYTES, examine};

use compact::Victim;

/// Stores that share one flush, at most.
const MAX_BATCH: usize = 256;
/// Rows are flushed at the latest with this much appended since: what a start after a power failure has
/// to read again.
const MAX_UNFLUSHED_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) enum Command {
    Put(Box<Put>),
    Delete {
        deletions: Vec<Deletion>,
        at: Timestamp,
        reply: oneshot::Sender<Vec<DeletionOutcome>>,
    },
    /// Something was wrong with this blob: look again and note what is.
    Inspect {
        id: BlobId,
        at: Timestamp,
        reply: oneshot::Sender<Option<BlobState>>,
    },
    EmptyTrash {
        retention: Duration,
        at: Timestamp,
        limit: u32,
        reply: oneshot::Sender<usize>,
    },
    /// One step. The answer: bytes that were moved.
    Compact {
        at: Timestamp,
        reply: oneshot::Sender<u64>,
    },
    SaveScrubCursor(Option<BlobId>),
    /// A coordinator knows of these losses.
    ClearLosses {
        known: Vec<BlobId>,
        reply: oneshot::Sender<bool>,
    },
    /// Whether disk and catalogue take writes again.
    Probe(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Put {
    pub blob: NewBlob,
    pub reservation: Reservation,
    /// When the blob was stored, Unix ms.
    pub reply: oneshot::Sender<Result<u64, PutError>>,
}

pub(super) struct Writer {
    core: Arc<Core>,
    catalogue: Catalogue,
    /// Records whose tombstones the next transaction can clear.
    wiped: Vec<Location>,
    /// Appended since rows were last flushed.
    unflushed_bytes: u64,
    /// Removed while somebody read them: to be removed once more.
    in_use: Vec<Address>,
    victim: Option<Victim>,
    /// Segments that a compaction could not empty.
    kept: BTreeSet<u64>,
    brake: Option<Brake>,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, catalogue: Catalogue, brake: Option<Brake>) -> Self {
        Self {
            core,
            catalogue,
            wiped: Vec::new(),
            unflushed_bytes: 0,
            in_use: Vec::new(),
            victim: None,
            kept: BTreeSet::new(),
            brake,
        }
    }

    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut puts = Vec::new();
            let mut others = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Put(put) => {
                        bytes += put.blob.data.len() as u64;
                        puts.push(*put);
                    }
                    other => others.push(other),
                }
                let more = puts.len() + others.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES;
                next = more.then(|| commands.try_recv().ok()).flatten();
            }
            self.put_all(puts);
            for command in others {
                if let Command::Close(reply) = command {
                    self.close();
                    let _ = reply.send(());
                    return;
                }
                self.execute(command);
            }
        }
    }

    /// Replies are not awaited by everyone: a requester may have gone.
    fn execute(&mut self, command: Command) {
        match command {
            Command::Delete {
                deletions,
                at,
                reply,
            } => {
                let outcomes: Vec<_> = deletions
                    .chunk_by(|one, next| one.mode == next.mode)
                    .flat_map(|run| self.delete_run(run, at))
                    .collect();
                self.refresh_quota();
                let _ = reply.send(outcomes);
            }
            Command::Inspect { id, at, reply } => {
                let state = self.inspect(&id, at);
                self.refresh_quota();
                let _ = reply.send(state);
            }
            Command::EmptyTrash {
                retention,
                at,
                limit,
                reply,
            } => {
                let removed = self.empty_trash(retention, at, limit);
                self.refresh_quota();
                let _ = reply.send(removed);
            }
            Command::Compact { at, reply } => {
                let moved = self.compact(at);
                self.refresh_quota();
                let _ = reply.send(moved);
            }
            Command::SaveScrubCursor(cursor) => {
                let saved = self
                    .catalogue
                    .write(|tx| tx.set_scrub_cursor(cursor.as_ref()));
                self.note_failure(saved);
            }
            Command::ClearLosses { known, reply } => {
                let cleared = self.catalogue.write(|tx| tx.clear_losses(&known));
                let _ = reply.send(self.note_failure(cleared).is_some());
            }
            Command::Probe(reply) => {
                self.probe();
                let _ = reply.send(());
            }
            Command::Put(_) | Command::Close(_) => {} // taken by `run`
        }
    }

    fn put_all(&mut self, mut puts: Vec<Put>) {
        // Two stores of one blob at once: the second one finds the first one's row.
        while !puts.is_empty() {
            let mut ids = HashSet::new();
            let (batch, again) = puts.into_iter().partition(|put| ids.insert(put.blob.id));
            self.put_batch(batch);
            puts = again;
        }
    }

    fn put_batch(&mut self, batch: Vec<Put>) {
        let mut blobs = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for put in batch {
            match self.core.held(self.catalogue.row(&put.blob.id)) {
                Ok(None) => {
                    blobs.push(put.blob);
                    waiting.push((put.reservation, put.reply));
                }
                Ok(Some(row)) => {
                    drop(put.reservation); // before anybody looks
                    let _ = put.reply.send(Ok(row.stored_at_ms));
                }
                Err(error) => {
                    let _ = put.reply.send(Err(error));
                }
            }
        }
        if blobs.is_empty() {
            return;
        }
        let outcomes = self.store(&blobs);
        self.refresh_quota();
        let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        self.core.stats.batches.fetch_add(1, Ordering::Relaxed);
        let stats = &self.core.stats;
        stats.stored.fetch_add(stored as u64, Ordering::Relaxed);
        for ((reservation, reply), outcome) in waiting.into_iter().zip(outcomes) {
            drop(reservation);
            let _ = reply.send(outcome);
        }
    }

    /// Appends, enters, and wipes what is replaced. One outcome for each blob, in order.
    fn store(&mut self, blobs: &[NewBlob]) -> Vec<Result<u64, PutError>> {
        let core = Arc::clone(&self.core);
        let outcomes = core.layout.append(blobs);
        let mut rows = Vec::with_capacity(blobs.len());
        let mut results = Vec::with_capacity(blobs.len());
        for (blob, outcome) in blobs.iter().zip(outcomes) {
            results.push(match outcome {
                Ok(location) => {
                    let disk_bytes = core.layout.disk_bytes(blob.data.len() as u64);
                    rows.push(Row::of(blob, disk_bytes, location));
                    Ok(blob.stored_at_ms)
                }
                Err(error) => Err(core.disk_failed(&error)),
            });
        }
        if rows.is_empty() {
            return results;
        }
        match self.enter(&rows) {
            Ok(()) => core.disk_works(),
            Err(error) => {
                let error = core.catalogue_failed(&error);
                for result in &mut results {
                    if result.is_ok() {
                        *result = Err(error.clone());
                    }
                }
            }
        }
        results
    }

    /// Commits the rows of what was just appended and wipes what they replace, or takes it all back.
    fn enter(&mut self, rows: &[Row]) -> Result<(), CatalogueError> {
        let addresses: Vec<Address> = rows.iter().map(Address::of).collect();
        let mut replaced = self.commit(rows).inspect_err(|_| {
            self.core.layout.undo(&addresses);
        })?;
        // Only now: until its row is committed, the earlier copy is the one that counts.
        if let Err(error) = self.core.layout.appended(&addresses) {
            tracing::warn!(%error, "an earlier copy of a blob is left behind");
        }
        replaced.retain(|address| address.location.is_some());
        self.bury(&replaced);
        Ok(())
    }

    /// Where the blobs were before.
    fn commit(&mut self, rows: &[Row]) -> Result<Vec<Address>, CatalogueError> {
        let mut replaced = Vec::new();
        for row in rows {
            replaced.extend(self.catalogue.row(&row.id)?.as_ref().map(Address::of));
        }
        let changes = |tx: &Changes<'_>| {
            tx.clear_tombstones(&self.wiped)?;
            rows.iter().try_for_each(|row| tx.upsert(row))
        };
        self.unflushed_bytes += rows.iter().map(|row| row.disk_bytes).sum::<u64>();
        let found_again = self.core.layout.finds_appended() && replaced.is_empty();
        if found_again && self.unflushed_bytes < MAX_UNFLUSHED_BYTES {
            self.catalogue.write_unflushed(changes)?;
        } else {
            self.catalogue.write(changes)?;
            self.unflushed_bytes = 0;
        }
        self.wiped.clear();
        Ok(replaced)
    }

    /// The state of the blob after a look at the disk, `None` when there is none.
    fn inspect(&mut self, id: &BlobId, at: Timestamp) -> Option<BlobState> {
        let known = self.note_failure(self.catalogue.row(id))?;
        let found = match examine(&*self.core.layout, id, known.as_ref(), at) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%id, %error, "a blob cannot be read");
                return known.map(|row| row.state);
            }
        };
        if found != known {
            let noted = self.catalogue.write(|tx| match &found {
                Some(row) => tx.upsert(row),
                None => tx.remove(id),
            });
            self.note_failure(noted)?;
        }
        found.map(|row| row.state)
    }

    fn probe(&mut self) {
        if let Err(error) = self.core.layout.probe() {
            self.core.disk_failed(&error);
            return;
        }
        let written = self.catalogue.mark_open();
        if self.note_failure(written).is_some() {
            self.core.disk_works();
        }
    }

    fn refresh_quota(&self) {
        let counts = self.note_failure(self.catalogue.counts());
        let deferred = self.note_failure(self.catalogue.deferred());
        if let Some((counts, deferred)) = counts.zip(deferred) {
            self.core.quota.set_counts(counts, deferred);
        }
    }

    fn note_failure<T>(&self, result: Result<T, CatalogueError>) -> Option<T> {
        result
            .map_err(|error| self.core.catalogue_failed(&error))
            .ok()
    }

    fn close(&mut self) {
        let wiped = std::mem::take(&mut self.wiped);
        let cleared = self.catalogue.write(|tx| tx.clear_tombstones(&wiped));
        self.note_failure(cleared);
        let closed = self.catalogue.close();
        self.note_failure(closed);
    }
}
