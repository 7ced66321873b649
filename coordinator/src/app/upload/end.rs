//! The third step, and the other ways in which a session ends: given up, or out of time.

use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use super::UploadError;
use super::session::MISSING_NAMED;
use crate::app::App;
use crate::app::ledger::{self, Movement};
use crate::app::storage_charges;
use crate::db;
use crate::db::files::File;
use crate::db::uploads::{Upload, UploadState};
use crate::domain::file_meter::FileMeter;
use crate::domain::ids::{FileId, UploadId, UserId};
use crate::domain::ledger::{Account, TransferKind};

/// Checks that every chunk has its receipts, then moves the price to escrow and makes the file
/// visible, in one transaction. Repeated, it returns the same file.
pub async fn complete(app: &App, user: UserId, id: UploadId) -> Result<File, UploadError> {
    let mut connection = app.db.acquire().await?;
    let upload = db::uploads::by_id(&mut connection, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state == UploadState::Open && !upload.expired {
        check_receipts(&mut connection, upload.file_id).await?;
    }
    drop(connection);

    let mut transaction = app.db.begin().await?;
    let upload = db::uploads::lock(&mut transaction, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state == UploadState::Open {
        if upload.expired {
            return Err(UploadError::Expired(upload.expires_at));
        }
        finish(app, &mut transaction, &upload).await?;
    }
    let file = db::files::by_id(&mut transaction, upload.file_id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    transaction.commit().await?;
    Ok(file)
}

/// Counts rows, which takes seconds for a file of terabytes, and so runs before the session is
/// locked: a chunk of an open session is only ever replaced by one that has its receipts.
async fn check_receipts(connection: &mut PgConnection, id: FileId) -> Result<(), UploadError> {
    let file = db::files::uploading(connection, id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let layout = file.layout().ok_or(UploadError::InProgress)?;
    let (count, first) = db::chunks::missing(
        connection,
        id,
        layout.chunk_count() as u32,
        file.replication,
        MISSING_NAMED,
    )
    .await?;
    match count {
        0 => Ok(()),
        _ => Err(UploadError::ChunksMissing { count, first }),
    }
}

async fn finish(
    app: &App,
    connection: &mut PgConnection,
    upload: &Upload,
) -> Result<(), UploadError> {
    let file = db::files::uploading(connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let layout = file.layout().ok_or(UploadError::InProgress)?;
    db::earnings::mark_surplus(connection, file.id, layout, file.replication).await?;
    let price = app.config.money.price_per_gb_month;
    let cost = price
        .first_month(layout.size_bytes, file.replication)?
        .min(upload.hold);
    let rest = upload.hold.checked_sub(cost).unwrap_or(MicroCredits::ZERO);
    let at = db::earnings::ledger_now(connection).await?;
    let charge = Movement {
        kind: TransferKind::Charge,
        key: format!("charge:{}", upload.id),
        cause: &json!({"upload_id": upload.id, "file_id": upload.file_id}),
        entries: &[
            (Account::upload_hold(upload.user_id), -upload.hold),
            (Account::escrow(upload.user_id), cost),
            (Account::available(upload.user_id), rest),
        ],
    };
    ledger::post(connection, charge).await?;
    let meter = FileMeter {
        size_bytes: layout.size_bytes,
        replicas: file.replication,
        price,
        since: at,
        paid: cost,
    };
    let renew_at = storage_charges::renew_at(app, &meter);
    db::files::mark_ready(connection, file.id, &meter, renew_at).await?;
    // Only now: a replica that was demoted while the file was not stored yet earns nothing, and no event says so.
    let held = db::earnings::holdings(connection, file.id, layout).await?;
    db::earnings::record(connection, file.id, at, "complete", &held).await?;
    db::uploads::mark_completed(connection, upload.id).await?;
    Ok(())
}

/// Gives an unfinished upload up: credits come back, blobs are purged.
pub async fn abort(app: &App, user: UserId, id: UploadId) -> Result<(), UploadError> {
    let mut transaction = app.db.begin().await?;
    let upload = db::uploads::lock(&mut transaction, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Closed);
    }
    discard(&mut transaction, &upload, "aborted").await?;
    transaction.commit().await?;
    app.forget_nudge.notify_one();
    Ok(())
}

/// Ends one session whose time is up; `false` when there is none.
pub async fn expire_one(app: &App) -> Result<bool, UploadError> {
    let mut transaction = app.db.begin().await?;
    let Some(upload) = db::uploads::lock_one_expired(&mut transaction).await? else {
        return Ok(false);
    };
    discard(&mut transaction, &upload, "expired").await?;
    transaction.commit().await?;
    app.forget_nudge.notify_one();
    tracing::info!(upload_id = %upload.id, "an unfinished upload expired");
    Ok(true)
}

async fn discard(
    connection: &mut PgConnection,
    upload: &Upload,
    reason: &str,
) -> Result<(), UploadError> {
    db::users::remove_file(connection, upload.user_id).await?; // the user's row before the accounts
    let release = Movement {
        kind: TransferKind::Release,
        key: format!("release:{}", upload.id),
        cause: &json!({"upload_id": upload.id, "reason": reason}),
        entries: &[
            (Account::upload_hold(upload.user_id), -upload.hold),
            (Account::available(upload.user_id), upload.hold),
        ],
    };
    ledger::post(connection, release).await?;
    db::files::mark_deleted(connection, upload.file_id).await?;
    Ok(())
}
