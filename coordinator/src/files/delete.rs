//! What an owner does with stored files besides reading them.

use crate::billing::charges;
use crate::billing::charges::{ChargeError, FileEnd};
use crate::blobs;
use crate::files::{Files, tables};
use crate::security;
use crate::security::{Event, EventKind};

use model::ids::{FileId, UserId};

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("there is no such file")]
    NotFound,
    #[error(transparent)]
    Charge(#[from] ChargeError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One transaction: the file and its data key are gone, what was not used of its escrow is back.
/// Its chunks follow by and by, and nodes are told until each has acknowledged.
pub async fn delete(files: &Files, user: UserId, id: FileId) -> Result<(), DeleteError> {
    let mut transaction = files.db.begin().await?;
    let file = tables::files::lock(&mut transaction, id, user)
        .await?
        .ok_or(DeleteError::NotFound)?;
    charges::end(&mut transaction, &files.entropy, &file, FileEnd::Deleted).await?;
    tables::files::mark_deleted(&mut transaction, id).await?;
    let deleted = id.to_string();
    let event = Event::done(EventKind::FileDeleted, user).of(&deleted);
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    files.forget_wake.wake();
    Ok(())
}

/// Files and chunks that one transaction of `forget_some` touches.
const FORGET_FILES: i64 = 64;
const FORGET_CHUNKS: i64 = 1000;

/// Takes chunks of deleted files away, and enqueues the purges of their blobs, in one short
/// transaction: a file of a terabyte holds up nobody. `false` when nothing was left to do.
pub async fn forget_some(files: &Files) -> sqlx::Result<bool> {
    let mut transaction = files.db.begin().await?;
    let deleted = tables::files::lock_deleted(&mut transaction, FORGET_FILES).await?;
    if deleted.is_empty() {
        return Ok(false);
    }
    let chunks = blobs::tables::chunks::some_of(&mut transaction, &deleted, FORGET_CHUNKS).await?;
    blobs::tables::chunks::delete_and_purge(&mut transaction, &chunks).await?;
    tables::files::remove_empty(&mut transaction, &deleted).await?;
    transaction.commit().await?;
    files.blobs.purge_wake.wake();
    Ok(true)
}
