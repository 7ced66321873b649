//! What was acknowledged, and how every request went.
//!
//! An acknowledgement is written down before anything else is done with it. A request without an answer
//! is written down too: nobody knows what became of it, so either outcome is right, and no third one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use proto::FileId;
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio_util::sync::CancellationToken;

/// A file that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its content follows from this: see [`super::content`].
    pub number: u64,
    pub file_id: FileId,
    pub size: u64,
    /// Of what was sent.
    pub hash: blake3::Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Its deletion was asked for and not acknowledged: it may be there or not.
    Deleting,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Read,
    Write,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub work: Work,
    /// The number of the one that was asked.
    pub coordinator: usize,
    pub began: Instant,
    pub ended: Instant,
    pub succeeded: bool,
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Mutex<Entries>,
    /// Cancelled by the first violation, and when the time is up.
    pub stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Entries {
    files: Vec<(Stored, State)>,
    by_id: HashMap<FileId, usize>,
    live: Vec<usize>,
    /// Uploads that nobody acknowledged, by their number: their size.
    unanswered: HashMap<u64, u64>,
    ops: Vec<Op>,
    violations: Vec<String>,
    bytes_acknowledged: u64,
    deletions: u64,
}

impl Journal {
    pub(super) fn acknowledge(&self, stored: Stored) {
        let mut entries = self.lock();
        let index = entries.files.len();
        entries.unanswered.remove(&stored.number);
        entries.bytes_acknowledged += stored.size;
        entries.by_id.insert(stored.file_id, index);
        entries.files.push((stored, State::Live));
        entries.live.push(index);
    }

    /// To be called before an upload is sent.
    pub(super) fn begin_upload(&self, number: u64, size: u64) {
        self.lock().unanswered.insert(number, size);
    }

    pub(super) fn live(&self) -> usize {
        self.lock().live.len()
    }

    pub(super) fn pick(&self, rng: &mut impl Rng) -> Option<Stored> {
        let entries = self.lock();
        let index = *entries.live.choose(rng)?;
        Some(entries.files[index].0.clone())
    }

    /// Like [`Self::pick`]; from now on the file may be there or not.
    pub(super) fn pick_to_delete(&self, rng: &mut impl Rng) -> Option<Stored> {
        let mut entries = self.lock();
        let index = *entries.live.choose(rng)?;
        entries.live.retain(|live| *live != index);
        entries.files[index].1 = State::Deleting;
        Some(entries.files[index].0.clone())
    }

    pub(super) fn acknowledge_deletion(&self, file_id: FileId) {
        let mut entries = self.lock();
        entries.deletions += 1;
        if let Some(index) = entries.by_id.get(&file_id).copied() {
            entries.files[index].1 = State::Deleted;
        }
    }

    pub(super) fn state(&self, file_id: FileId) -> Option<State> {
        let entries = self.lock();
        let index = entries.by_id.get(&file_id)?;
        Some(entries.files[*index].1)
    }

    pub(super) fn note(&self, op: Op) {
        self.lock().ops.push(op);
    }

    /// Something that must never happen. The run ends at once.
    pub(super) fn violate(&self, what: String) {
        self.lock().violations.push(what);
        self.stop.cancel();
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(super) fn ops(&self) -> Vec<Op> {
        self.lock().ops.clone()
    }

    pub(super) fn files(&self) -> Vec<(Stored, State)> {
        self.lock().files.clone()
    }

    /// The size of an upload of this number that was not acknowledged.
    pub(super) fn unanswered(&self, number: u64) -> Option<u64> {
        self.lock().unanswered.get(&number).copied()
    }

    /// Files acknowledged, their bytes, and deletions acknowledged.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let entries = self.lock();
        (
            entries.files.len() as u64,
            entries.bytes_acknowledged,
            entries.deletions,
        )
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
