//! What the threads of a store share, and the part of a store that is done beside others.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::BlobId;
use tokio::sync::oneshot;

use super::PutError;
use super::catalogue::{BlobState, CatalogueError, Readers, Row};
use super::layout::{Layout, NewBlob, Place};
use super::quota::Quota;
use super::writer::Put;
use crate::clock::Clock;

/// What has been done since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Blobs made durable.
    pub stored: AtomicU64,
    /// Group commits that it took.
    pub batches: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Core {
    pub layout: Box<dyn Layout>,
    pub readers: Readers,
    pub quota: Arc<Quota>,
    pub stats: Stats,
    pub clock: Clock,
    /// The last error of the disk, until a write succeeds again.
    pub fault: Mutex<Option<String>>,
}

pub(super) enum Prepared {
    Held { stored_at_ms: u64 },
    New(Box<Put>),
}

impl Core {
    /// Everything about a store that can be done beside others: hash and quota.
    pub(super) fn prepare(
        &self,
        blob: NewBlob,
        reply: oneshot::Sender<Result<u64, PutError>>,
    ) -> Result<Prepared, PutError> {
        if BlobId::of(&blob.data) != blob.id {
            return Err(PutError::HashMismatch);
        }
        if let Some(row) = self.held(self.readers.row(&blob.id))? {
            let stored_at_ms = row.stored_at_ms;
            return Ok(Prepared::Held { stored_at_ms });
        }
        let needed = self.layout.disk_bytes(blob.data.len() as u64);
        let reservation = self
            .quota
            .reserve(needed)
            .map_err(|error| self.disk_failed(&error))?
            .map_err(|full| PutError::Full(full.to_string()))?;
        Ok(Prepared::New(Box::new(Put {
            blob,
            reservation,
            reply,
        })))
    }

    /// The row of a live blob that is really there. A receipt is a promise: a row alone is not enough
    /// to give one.
    pub(super) fn held(
        &self,
        row: Result<Option<Row>, CatalogueError>,
    ) -> Result<Option<Row>, PutError> {
        let row = row.map_err(|error| self.catalogue_failed(&error))?;
        let Some(row) = row.filter(|row| row.state == BlobState::Live) else {
            return Ok(None);
        };
        let is_there = self.layout.is_there(&Place::of(&row));
        let is_there = is_there.map_err(|error| self.disk_failed(&error))?;
        Ok(is_there.then_some(row))
    }

    /// A full disk is no fault: free space tells it, and trash that is emptied mends it.
    pub(super) fn disk_failed(&self, error: &io::Error) -> PutError {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            return PutError::Full(format!("the disk is full: {error}"));
        }
        self.note_fault(format!("the disk failed: {error}"))
    }

    pub(super) fn catalogue_failed(&self, error: &CatalogueError) -> PutError {
        if let CatalogueError::Sqlite(error) = error
            && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        {
            return PutError::Full(format!("the disk is full: {error}"));
        }
        self.note_fault(error.to_string())
    }

    fn note_fault(&self, text: String) -> PutError {
        tracing::error!(error = text, "the store cannot write");
        *self.lock_fault() = Some(text.clone());
        PutError::Io(text)
    }

    pub(super) fn disk_works(&self) {
        if self.lock_fault().take().is_some() {
            tracing::info!("the store can write again");
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.lock_fault().clone()
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
