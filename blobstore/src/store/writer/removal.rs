//! Deletions: to the trash and back, and for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome};

use kit::unix_ms;

use super::Writer;
use crate::blob::{Address, Area, BlobState, Row};
use crate::layout::{Destination, Removed};
use crate::store::brake::{Brake, first_hour, first_minute, hour, minute};

impl Writer {
    /// Deletions of one mode, in one go.
    pub(super) fn delete_run(&mut self, run: &[Deletion], at: Timestamp) -> Vec<DeletionOutcome> {
        let Some(first) = run.first() else {
            return Vec::new();
        };
        let ids: Vec<BlobId> = run.iter().map(|deletion| deletion.blob_id).collect();
        let outcomes = match first.mode {
            DeletionMode::Purge => self.purge(&ids, at),
            DeletionMode::Trash => self.relocate(&ids, Destination::TRASH, at),
            DeletionMode::Restore => self.relocate(&ids, Destination::Blobs, at),
        };
        outcomes.unwrap_or_else(|| vec![DeletionOutcome::Failed; ids.len()])
    }

    /// What the brake lets pass goes for good, the rest to the trash. `None` when the catalogue fails, which is noted.
    fn purge(&mut self, ids: &[BlobId], at: Timestamp) -> Option<Vec<DeletionOutcome>> {
        let Some(brake) = self.brake else {
            return self.remove(ids, 0, at);
        };
        // A message may name a blob twice: whatever is decided of it holds for both.
        let unique: BTreeSet<BlobId> = ids.iter().copied().collect();
        let unique: Vec<BlobId> = unique.into_iter().collect();
        let rows = self.rows(&unique)?;
        let mut allowed = self.allowed(&brake, at)?;
        let (mut remove, mut put_off, mut outcomes) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut counted = 0;
        for (id, row) in unique.into_iter().zip(rows) {
            match row {
                Some(row) if row.deferred_until_ms.is_some() => {
                    outcomes.insert(id, DeletionOutcome::Deferred);
                }
                Some(row) if row.state == BlobState::Lost => remove.push(id), // only its row
                None => remove.push(id),
                Some(_) if allowed > 0 => {
                    (allowed, counted) = (allowed - 1, counted + 1);
                    remove.push(id);
                }
                Some(_) => put_off.push(id),
            }
        }
        if !remove.is_empty() {
            let removed = self.remove(&remove, counted, at)?;
            outcomes.extend(remove.into_iter().zip(removed));
        }
        if !put_off.is_empty() {
            let until = at.saturating_add(brake.hold).unwrap_or(Timestamp::MAX);
            let to = Destination::Trash {
                deferred_until_ms: Some(unix_ms(until)),
            };
            let moved = self.relocate(&put_off, to, at)?;
            let deferred = moved.into_iter().map(|outcome| match outcome {
                DeletionOutcome::Done => DeletionOutcome::Deferred,
                other => other,
            });
            outcomes.extend(put_off.into_iter().zip(deferred));
        }
        let outcome = |id| outcomes.get(id).copied().unwrap_or(DeletionOutcome::Failed);
        Some(ids.iter().map(outcome).collect())
    }

    /// How many blobs may still be removed at this time. What is held now counts as having been held.
    fn allowed(&mut self, brake: &Brake, at: Timestamp) -> Option<u64> {
        let counts = self.note_failure(self.catalogue.counts())?;
        let held = counts.live.blobs + counts.corrupt.blobs;
        let noted = self
            .catalogue
            .write_unflushed(|tx| tx.note_count(hour(at), held, first_hour(at)));
        self.note_failure(noted)?;
        let highest = self.note_failure(self.catalogue.highest_since(first_hour(at)))?;
        let removed = self.note_failure(self.catalogue.removed_since(first_minute(at)))?;
        Some(brake.limit(highest.max(held)).saturating_sub(removed))
    }

    /// For good; `counted` of them because somebody orders it.
    fn remove(
        &mut self,
        ids: &[BlobId],
        counted: u64,
        at: Timestamp,
    ) -> Option<Vec<DeletionOutcome>> {
        let addresses = self
            .rows(ids)?
            .into_iter()
            .zip(ids)
            .map(|(row, id)| row.as_ref().map_or(Address::unknown(*id), Address::of));
        let addresses: Vec<Address> = addresses.collect();
        let wiped = std::mem::take(&mut self.wiped);
        let forgotten = self.catalogue.write(|tx| {
            tx.clear_tombstones(&wiped)?;
            if counted > 0 {
                tx.note_removals(minute(at), counted, first_minute(at))?;
            }
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
        to: Destination,
        at: Timestamp,
    ) -> Option<Vec<DeletionOutcome>> {
        let rows = self.rows(ids)?;
        let mut outcomes: Vec<DeletionOutcome> = rows
            .iter()
            .map(|row| already(row.as_ref().map(|row| row.state), to.area()))
            .collect();
        let to_move = |row: &Row| match (to, row.state) {
            (Destination::Trash { .. }, BlobState::Live | BlobState::Corrupt) => true,
            // What is in the trash already stays there for as long as its removal is put off.
            (Destination::Trash { deferred_until_ms }, BlobState::Trashed) => {
                deferred_until_ms.is_some()
            }
            (Destination::Trash { .. }, BlobState::Lost) => false,
            (Destination::Blobs, state) => state == BlobState::Trashed,
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
                Ok(false) => already(None, to.area()),
                Err(error) => {
                    self.core.disk_failed(&error);
                    DeletionOutcome::Failed
                }
            };
        }
        let state = match to.area() {
            Area::Blobs => BlobState::Live,
            Area::Trash => BlobState::Trashed,
        };
        let until = to.deferred_until_ms();
        let noted = self.catalogue.write(|tx| {
            changed
                .iter()
                .try_for_each(|id| tx.set_state(id, state, at_ms, until))
        });
        self.note_failure(noted)?;
        Some(outcomes)
    }

    pub(super) fn empty_trash(&mut self, retention: Duration, at: Timestamp, limit: u32) -> usize {
        let again = std::mem::take(&mut self.in_use);
        self.bury(&again);
        self.drop_empty_segments();
        self.due(retention, at, limit)
            .filter(|(due, _)| !due.is_empty())
            .and_then(|(due, counted)| self.remove(&due, counted, at))
            .unwrap_or_default()
            .into_iter()
            .filter(|outcome| *outcome == DeletionOutcome::Done)
            .count()
    }

    /// What is to leave the trash, and how many of it as if somebody had ordered it.
    fn due(
        &mut self,
        retention: Duration,
        at: Timestamp,
        limit: u32,
    ) -> Option<(Vec<BlobId>, u64)> {
        let before = |time: Duration| {
            let cutoff = at.checked_sub(time);
            unix_ms(cutoff.unwrap_or(Timestamp::UNIX_EPOCH))
        };
        let Some(brake) = self.brake else {
            let due = self.catalogue.due_trash(before(retention), limit);
            return Some((self.note_failure(due)?, 0));
        };
        let put_off = self.catalogue.due_deferred(unix_ms(at), limit);
        let mut due = self.note_failure(put_off)?;
        let left = |due: &[BlobId]| limit.saturating_sub(due.len() as u32);
        let held_long_enough = before(retention.max(brake.hold));
        let old = self.catalogue.due_trash(held_long_enough, left(&due));
        due.extend(self.note_failure(old)?);
        if !due.is_empty() || retention >= brake.hold {
            return Some((due, 0));
        }
        let allowed = self.allowed(&brake, at)?;
        let most = u32::try_from(allowed).unwrap_or(u32::MAX).min(limit);
        let early = self.catalogue.due_trash(before(retention), most);
        let due = self.note_failure(early)?;
        let counted = due.len() as u64;
        Some((due, counted))
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
