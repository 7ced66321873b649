//! What an owner does with stored files besides reading them.

use serde_json::json;

use super::App;
use super::ledger::{self, Movement};
use crate::clock;
use crate::db;
use crate::db::ledger::PostError;
use crate::domain::ids::{FileId, UserId};
use crate::domain::ledger::{Account, TransferKind};
use crate::domain::money::AmountTooLarge;
use proto::MicroCredits;

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("there is no such file")]
    NotFound,
    #[error(transparent)]
    Price(#[from] AmountTooLarge),
    #[error(transparent)]
    Ledger(#[from] PostError),
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
    let kept = clock::now()
        .duration_since(file.completed_at)
        .as_secs()
        .max(0);
    let price = app.config.money.price_per_gb_month;
    let used = price
        .used(
            file.layout.size_bytes,
            file.replication,
            kept.unsigned_abs(),
        )?
        .min(file.escrow);
    let rest = file.escrow.checked_sub(used).unwrap_or(MicroCredits::ZERO);
    db::users::remove_file(&mut transaction, user).await?; // the user's row before the accounts
    let settle = Movement {
        kind: TransferKind::Delete,
        key: format!("delete:{id}"),
        cause: &json!({"file_id": id, "kept_seconds": kept}),
        entries: &[
            (Account::escrow(user), -file.escrow),
            (Account::INCOME, used),
            (Account::available(user), rest),
        ],
    };
    ledger::post(&mut transaction, settle).await?;
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
