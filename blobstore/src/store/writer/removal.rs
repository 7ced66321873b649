//! Deletions: to the trash and back, and for good.

use std::sync::Arc;

use jiff::Timestamp;
use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome};

use kit::unix_ms;

use super::Writer;
use crate::blob::{Address, Area, BlobState, Row};
use crate::layout::Removed;

impl Writer {
    /// Deletions of one mode, in one go.
    pub(super) fn delete_run(&mut self, run: &[Deletion], at: Timestamp) -> Vec<DeletionOutcome> {
        let Some(first) = run.first() else {
            return Vec::new();
        };
        let ids: Vec<BlobId> = run.iter().map(|deletion| deletion.blob_id).collect();
        let outcomes = match first.mode {
            DeletionMode::Purge => self.purge(&ids),
            DeletionMode::Trash => self.relocate(&ids, Area::Trash, at),
            DeletionMode::Restore => self.relocate(&ids, Area::Blobs, at),
        };
        outcomes.unwrap_or_else(|| vec![DeletionOutcome::Failed; ids.len()])
    }

    /// `None` when the catalogue fails, which is noted.
    fn purge(&mut self, ids: &[BlobId]) -> Option<Vec<DeletionOutcome>> {
        let addresses = self
            .rows(ids)?
            .into_iter()
            .zip(ids)
            .map(|(row, id)| row.as_ref().map_or(Address::unknown(*id), Address::of));
        let addresses: Vec<Address> = addresses.collect();
        let wiped = std::mem::take(&mut self.wiped);
        let forgotten = self.catalogue.write(|tx| {
            tx.clear_tombstones(&wiped)?;
            ids.iter().try_for_each(|id| tx.remove(id))
        });
        self.note_failure(forgotten)?;
        self.drop_empty_segments();
        let buried = self.bury(&addresses);
        let outcome = |buried| match buried {
            true => DeletionOutcome::Done,
            false => DeletionOutcome::Failed,
        };
        Some(buried.into_iter().map(outcome).collect())
    }

    /// Removes the bytes of blobs whose rows are gone or point elsewhere. Whether they are gone for
    /// good, in order; the errors are noted.
    pub(super) fn bury(&mut self, addresses: &[Address]) -> Vec<bool> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let core = Arc::clone(&self.core);
        let removed = core.layout.remove(addresses);
        let noted = addresses.iter().zip(removed).map(|(address, removed)| {
            match removed {
                Ok(Removed::Done) => self.wiped.extend(address.location),
                Ok(Removed::InUse) => self.in_use.push(*address),
                Err(error) => {
                    core.disk_failed(&error);
                    return false;
                }
            }
            true
        });
        noted.collect()
    }

    /// Segments go as a whole as soon as they hold nothing.
    pub(super) fn drop_empty_segments(&mut self) {
        let active = self.core.layout.active_segment();
        let empty = self.note_failure(self.catalogue.empty_segments(active));
        let mut dropped = Vec::new();
        for number in empty.unwrap_or_default() {
            match self.core.layout.remove_segment(number) {
                Ok(()) => dropped.push(number),
                Err(error) => {
                    self.core.disk_failed(&error);
                }
            }
        }
        if !dropped.is_empty() {
            let forgotten = self.catalogue.write(|tx| {
                dropped
                    .iter()
                    .try_for_each(|number| tx.forget_segment(*number))
            });
            self.note_failure(forgotten);
            tracing::debug!(segments = ?dropped, "removed segments that held nothing");
        }
    }

    /// To the trash or back. `None` when the catalogue fails, which is noted.
    fn relocate(
        &mut self,
        ids: &[BlobId],
        to: Area,
        at: Timestamp,
    ) -> Option<Vec<DeletionOutcome>> {
        let rows = self.rows(ids)?;
        let mut outcomes: Vec<DeletionOutcome> = rows
            .iter()
            .map(|row| already(row.as_ref().map(|row| row.state), to))
            .collect();
        let to_move = |row: &Row| match to {
            Area::Trash => matches!(row.state, BlobState::Live | BlobState::Corrupt),
            Area::Blobs => row.state == BlobState::Trashed,
        };
        let moving: Vec<(usize, Address)> = rows
            .iter()
            .enumerate()
            .filter_map(|(n, row)| Some((n, Address::of(row.as_ref().filter(|row| to_move(row))?))))
            .collect();
        let addresses: Vec<Address> = moving.iter().map(|(_, address)| *address).collect();
        let at_ms = unix_ms(at);
        let moved = self.core.layout.move_to(to, at_ms, &addresses);
        let mut changed = Vec::new();
        for ((n, address), moved) in moving.into_iter().zip(moved) {
            outcomes[n] = match moved {
                Ok(true) => {
                    changed.push(address.id);
                    DeletionOutcome::Done
                }
                // The bytes are gone: what is left to be done depends on what was wanted.
                Ok(false) => already(None, to),
                Err(error) => {
                    self.core.disk_failed(&error);
                    DeletionOutcome::Failed
                }
            };
        }
        let state = match to {
            Area::Blobs => BlobState::Live,
            Area::Trash => BlobState::Trashed,
        };
        let noted = self.catalogue.write(|tx| {
            changed
                .iter()
                .try_for_each(|id| tx.set_state(id, state, at_ms))
        });
        self.note_failure(noted)?;
        Some(outcomes)
    }

    pub(super) fn empty_trash(&mut self, cutoff: Timestamp, limit: u32) -> usize {
        let again = std::mem::take(&mut self.in_use);
        self.bury(&again);
        self.drop_empty_segments();
        let due = self.catalogue.due_trash(unix_ms(cutoff), limit);
        let due = self.note_failure(due).unwrap_or_default();
        if due.is_empty() {
            return 0;
        }
        let outcomes = self.purge(&due).unwrap_or_default();
        let done = |outcome: &&DeletionOutcome| **outcome == DeletionOutcome::Done;
        outcomes.iter().filter(done).count()
    }

    fn rows(&self, ids: &[BlobId]) -> Option<Vec<Option<Row>>> {
        let rows = ids.iter().map(|id| self.catalogue.row(id)).collect();
        self.note_failure(rows)
    }
}

/// What there is to say of a blob that need not be moved, or cannot be.
fn already(state: Option<BlobState>, to: Area) -> DeletionOutcome {
    match (to, state) {
        (Area::Trash, _) | (Area::Blobs, Some(BlobState::Live | BlobState::Corrupt)) => {
            DeletionOutcome::Done
        }
        (Area::Blobs, _) => DeletionOutcome::NotHeld,
    }
}
