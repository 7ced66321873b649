//! What the threads of a store share, and the part of the work that is done beside others.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::BlobId;

use kit::Clock;

use super::errors::PutError;
use super::quota::{Quota, Reservation};
use crate::blob::{Address, BlobState, NewBlob, Row};
use crate::catalogue::{CatalogueError, Readers};
use crate::layout::Layout;

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
    /// Why nothing can be written, until a write succeeds again.
    pub fault: Mutex<Option<Fault>>,
}

/// The last error of the disk or the catalogue.
#[derive(Debug)]
pub(super) struct Fault {
    text: String,
    /// No write that succeeds mends it.
    lasting: bool,
}

impl Core {
    /// What can be done beside others before a blob goes to the writer: hash and quota.
    pub(super) fn admit(&self, blob: &NewBlob) -> Result<Reservation, PutError> {
        if BlobId::of(&blob.data) != blob.id {
            return Err(PutError::HashMismatch);
        }
        let needed = self.layout.disk_bytes(blob.data.len() as u64);
        self.quota
            .reserve(needed)
            .map_err(|error| self.disk_failed(&error))?
            .map_err(|full| PutError::Full(full.to_string()))
    }

    /// Looks whether there is no room for a blob because it is held already. Blocks.
    pub(super) fn confirm(&self, id: &BlobId, full: PutError) -> Result<u64, PutError> {
        let held = self.held(self.readers.row(id))?;
        held.map(|row| row.stored_at_ms).ok_or(full)
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
        let is_there = self.layout.is_there(&Address::of(&row));
        let is_there = is_there.map_err(|error| self.disk_failed(&error))?;
        Ok(is_there.then_some(row))
    }

    /// A full disk is no fault: free space tells it, and trash that is emptied mends it.
    pub(super) fn disk_failed(&self, error: &io::Error) -> PutError {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            return PutError::Full(format!("the disk is full: {error}"));
        }
        self.note_fault(format!("the disk failed: {error}"), false)
    }

    pub(super) fn catalogue_failed(&self, error: &CatalogueError) -> PutError {
        if let CatalogueError::Sqlite(error) = error
            && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        {
            return PutError::Full(format!("the disk is full: {error}"));
        }
        if error.is_damage() {
            let text = format!(
                "the catalogue is damaged ({error}): stop the node and make it anew from the blobs \
                 with `storage-node chunks verify --rebuild`"
            );
            return self.note_fault(text, true);
        }
        self.note_fault(error.to_string(), false)
    }

    fn note_fault(&self, text: String, lasting: bool) -> PutError {
        tracing::error!(error = text, "the store cannot write");
        let mut fault = self.lock_fault();
        if lasting || fault.as_ref().is_none_or(|fault| !fault.lasting) {
            *fault = Some(Fault {
                text: text.clone(),
                lasting,
            });
        }
        PutError::Io(text)
    }

    pub(super) fn disk_works(&self) {
        let mut fault = self.lock_fault();
        if fault.take_if(|fault| !fault.lasting).is_some() {
            tracing::info!("the store can write again");
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.lock_fault().as_ref().map(|fault| fault.text.clone())
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
