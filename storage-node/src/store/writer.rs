//! The thread that changes what is on disk: one for each data directory.
//!
//! It takes whatever waits, names the files of all stores, flushes their directories together,
//! commits their rows in one transaction and answers them all: group commit, without ever holding
//! the first one back on purpose. Meanwhile the next batch is being written and flushed by others.
//!
//! Order on disk: bytes, then name, then row for a store; row, then file for a purge. So a crash may
//! leave a file that no row knows, which the next start adopts, and never a live row without a file.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome};
use tokio::sync::{mpsc, oneshot};

use super::PutError;
use super::area::Area;
use super::catalogue::{BlobState, Catalogue, CatalogueError, Row};
use super::core::Core;
use super::files::Flushed;
use super::quota::Reservation;
use super::reconcile::examine;
use crate::clock::unix_ms;

/// Stores that share one flush, at most.
const MAX_BATCH: usize = 64;

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
        cutoff: Timestamp,
        limit: u32,
        reply: oneshot::Sender<usize>,
    },
    SaveScrubCursor(Option<BlobId>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Put {
    pub file: Flushed,
    pub row: Row,
    pub reservation: Reservation,
    /// When the blob was stored, Unix ms.
    pub reply: oneshot::Sender<Result<u64, PutError>>,
}

pub(super) struct Writer {
    pub core: Arc<Core>,
    pub catalogue: Catalogue,
}

impl Writer {
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut puts = Vec::new();
            let mut others = Vec::new();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Put(put) => puts.push(*put),
                    other => others.push(other),
                }
                next = (puts.len() + others.len() < MAX_BATCH)
                    .then(|| commands.try_recv().ok())
                    .flatten();
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
                let outcomes = deletions
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
                cutoff,
                limit,
                reply,
            } => {
                let removed = self.empty_trash(cutoff, limit);
                self.refresh_quota();
                let _ = reply.send(removed);
            }
            Command::SaveScrubCursor(cursor) => {
                let saved = self
                    .catalogue
                    .write(|tx| tx.set_scrub_cursor(cursor.as_ref()));
                self.note_failure(saved);
            }
            Command::Put(_) | Command::Close(_) => {} // taken by `run`
        }
    }

    fn put_all(&mut self, mut puts: Vec<Put>) {
        // Two stores of one blob at once: the second one finds the first one's row.
        while !puts.is_empty() {
            let mut ids = HashSet::new();
            let (batch, again) = puts.into_iter().partition(|put| ids.insert(put.row.id));
            self.put_batch(batch);
            puts = again;
        }
    }

    fn put_batch(&mut self, batch: Vec<Put>) {
        let mut files = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        let mut in_trash = Vec::new();
        for put in batch {
            match self.core.held(self.catalogue.row(&put.row.id)) {
                Ok(Some(row)) if row.state == BlobState::Live => {
                    drop(put.file); // before anybody looks
                    let _ = put.reply.send(Ok(row.stored_at_ms));
                    continue;
                }
                Ok(Some(_)) => in_trash.push(put.row.id),
                Ok(None) => {}
                Err(error) => {
                    let _ = put.reply.send(Err(error));
                    continue;
                }
            }
            files.push(put.file);
            waiting.push((put.row, put.reservation, put.reply));
        }
        if files.is_empty() {
            return;
        }
        let outcomes = self.core.layout.commit(files);
        self.core.stats.batches.fetch_add(1, Ordering::Relaxed);
        let mut durable = Vec::with_capacity(waiting.len());
        for ((row, reservation, reply), outcome) in waiting.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => durable.push((row, reservation, reply)),
                Err(error) => {
                    let _ = reply.send(Err(self.core.disk_failed(&error)));
                }
            }
        }
        let committed = self
            .catalogue
            .write(|tx| durable.iter().try_for_each(|(row, ..)| tx.upsert(row)));
        if let Err(error) = committed {
            let ids: Vec<BlobId> = durable.iter().map(|(row, ..)| row.id).collect();
            self.core.layout.remove(&ids, &[Area::Blobs]);
            for (.., reply) in durable {
                let _ = reply.send(Err(self.core.catalogue_failed(&error)));
            }
            return;
        }
        // Only now: until its row is committed, the copy in the trash is the one that counts.
        in_trash.retain(|id| durable.iter().any(|(row, ..)| row.id == *id));
        self.core.layout.remove(&in_trash, &[Area::Trash]);
        self.core.disk_works();
        self.refresh_quota();
        let stored = durable.len() as u64;
        self.core.stats.stored.fetch_add(stored, Ordering::Relaxed);
        for (row, reservation, reply) in durable {
            drop(reservation);
            let _ = reply.send(Ok(row.stored_at_ms));
        }
    }

    /// Deletions of one mode, in one go.
    fn delete_run(&mut self, run: &[Deletion], at: Timestamp) -> Vec<DeletionOutcome> {
        let Some(first) = run.first() else {
            return Vec::new();
        };
        let ids: Vec<BlobId> = run.iter().map(|deletion| deletion.blob_id).collect();
        match first.mode {
            DeletionMode::Purge => self.purge(&ids),
            DeletionMode::Trash => self.relocate(&ids, Area::Blobs, Area::Trash, at),
            DeletionMode::Restore => self.relocate(&ids, Area::Trash, Area::Blobs, at),
        }
    }

    fn purge(&mut self, ids: &[BlobId]) -> Vec<DeletionOutcome> {
        let forgotten = self
            .catalogue
            .write(|tx| ids.iter().try_for_each(|id| tx.remove(id)));
        if self.note_failure(forgotten).is_none() {
            return vec![DeletionOutcome::Failed; ids.len()];
        }
        let removed = self.core.layout.remove(ids, &Area::BOTH);
        removed
            .into_iter()
            .map(|removed| match removed {
                Ok(()) => DeletionOutcome::Done,
                Err(error) => {
                    self.core.disk_failed(&error);
                    DeletionOutcome::Failed
                }
            })
            .collect()
    }

    fn relocate(
        &mut self,
        ids: &[BlobId],
        from: Area,
        to: Area,
        at: Timestamp,
    ) -> Vec<DeletionOutcome> {
        let moved = self.core.layout.relocate(ids, from, to);
        let mut outcomes = Vec::with_capacity(ids.len());
        let mut rows = Vec::new();
        for (id, moved) in ids.iter().zip(moved) {
            outcomes.push(match moved {
                Ok(true) => {
                    let state = match to {
                        Area::Blobs => BlobState::Live,
                        Area::Trash => BlobState::Trashed,
                    };
                    rows.push((*id, state));
                    DeletionOutcome::Done
                }
                // Not where it was to come from: already moved, or not held at all.
                Ok(false) if to == Area::Trash => DeletionOutcome::Done,
                Ok(false) => match self.core.layout.size(to, id) {
                    Ok(Some(_)) => DeletionOutcome::Done,
                    Ok(None) => DeletionOutcome::NotHeld,
                    Err(_) => DeletionOutcome::Failed,
                },
                Err(error) => {
                    self.core.disk_failed(&error);
                    DeletionOutcome::Failed
                }
            });
        }
        let at_ms = unix_ms(at);
        let noted = self.catalogue.write(|tx| {
            rows.iter()
                .try_for_each(|(id, state)| tx.set_state(id, *state, at_ms))
        });
        match self.note_failure(noted) {
            Some(()) => outcomes,
            None => vec![DeletionOutcome::Failed; ids.len()],
        }
    }

    /// The state of the blob after a look at its file, `None` when there is none.
    fn inspect(&mut self, id: &BlobId, at: Timestamp) -> Option<BlobState> {
        let known = self.note_failure(self.catalogue.row(id))?;
        let found = match examine(&self.core.layout, id, known.as_ref(), at) {
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

    fn empty_trash(&mut self, cutoff: Timestamp, limit: u32) -> usize {
        let due = self.catalogue.due_trash(unix_ms(cutoff), limit);
        let due = self.note_failure(due).unwrap_or_default();
        let outcomes = self.purge(&due);
        let done = |outcome: &&DeletionOutcome| **outcome == DeletionOutcome::Done;
        outcomes.iter().filter(done).count()
    }

    fn refresh_quota(&self) {
        if let Some(counts) = self.note_failure(self.catalogue.counts()) {
            self.core.quota.set_counts(counts);
        }
    }

    fn note_failure<T>(&self, result: Result<T, CatalogueError>) -> Option<T> {
        result
            .map_err(|error| self.core.catalogue_failed(&error))
            .ok()
    }

    fn close(&mut self) {
        let closed = self.catalogue.close();
        self.note_failure(closed);
    }
}
