//! What an owner does with stored files besides reading them.

use super::App;
use super::storage_charges::{self, ChargeError, FileEnd};
use crate::db;
use crate::domain::ids::{FileId, UserId};

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
pub async fn delete(app: &App, user: UserId, id: FileId) -> Result<(), DeleteError> {
    let mut transaction = app.db.begin().await?;
    let file = db::files::lock(&mut transaction, id, user)
        .await?
        .ok_or(DeleteError::NotFound)?;
    storage_charges::end(&mut transaction, &file, FileEnd::Deleted).await?;
    db::files::mark_deleted(&mut transaction, id).await?;
    transaction.commit().await?;
    app.forget_nudge.notify_one();
    Ok(())
}

/// Files and chunks that one transaction of `forget_some` touches.
const FORGET_FILES: i64 = 64;
const FORGET_CHUNKS: i64 = 1000;

/// Takes chunks of deleted files away, and enqueues the purges of their blobs, in one short
/// transaction: a file of a terabyte holds up nobody. `false` when nothing was left to do.
pub async fn forget_some(app: &App) -> sqlx::Result<bool> {
    let mut transaction = app.db.begin().await?;
    let files = db::files::lock_deleted(&mut transaction, FORGET_FILES).await?;
    if files.is_empty() {
        return Ok(false);
    }
    let chunks = db::chunks::some_of(&mut transaction, &files, FORGET_CHUNKS).await?;
    db::chunks::delete_and_purge(&mut transaction, &chunks).await?;
    db::files::remove_empty(&mut transaction, &files).await?;
    transaction.commit().await?;
    app.purge_nudge.notify_one();
    Ok(true)
}
