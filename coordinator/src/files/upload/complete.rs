//! The third step, and the other ways in which a session ends: given up, or out of time.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::tables::days;
use crate::bookkeeping::{chart, posting};
use kit::Entropy;
use ledger::Movement;
use serde_json::json;
use sqlx::PgConnection;
use std::sync::Arc;

use crate::billing::charges;
use crate::files::tables::files::Kept;
use crate::files::upload::{UploadError, chunk_commit, digest};
use crate::files::{Files, tables};
use crate::{accounts, billing, blobs};

use crate::files::upload::file_commit::FileCommit;
use crate::files::upload::pointing::Pointed;
use model::chunking::ChunkLayout;
use model::file::File;
use model::ids::{FileId, UploadId, UserId};
use model::objects::Target;
use model::upload::{Upload, UploadState};
use rules::allowance::Funds;
use rules::file_meter::Priced;

/// Indices that are named when chunks are missing.
pub const MISSING_NAMED: i64 = 1000;

/// Checks that every chunk has its receipts, and that the file is the one that `declared` is the SHA-256 of, then moves
/// the price to escrow, makes the file visible and has `target`, or what the upload was begun for, point to it, in one transaction. Repeated, it returns the
/// same file.
pub async fn complete(
    files: &Arc<Files>,
    user: UserId,
    id: UploadId,
    declared: Option<[u8; 32]>,
    target: Option<&Target>,
) -> Result<File, UploadError> {
    let mut connection = files.db.acquire().await?;
    let upload = tables::uploads::by_id(&mut connection, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    let is_open = upload.state == UploadState::Open && !upload.expired;
    let (mut remembered, mut strays_from) = (None, None);
    if is_open {
        let layout = check_receipts(&mut connection, upload.file_id).await?;
        strays_from = behind_the_last(&mut connection, upload.file_id, layout).await?;
        remembered = files.pointing.recall(&mut connection, id).await?;
    }
    let target = target.or(remembered.as_ref());
    drop(connection);
    if let Some(from) = strays_from {
        take_away(files, user, id, from).await?;
    }
    if is_open && let Some(declared) = declared {
        digest::verify(files, user, id, declared).await?;
    }

    let mut transaction = files.db.begin().await?;
    let upload = tables::uploads::lock(&mut transaction, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    let is_first = upload.state == UploadState::Open;
    if is_first {
        if upload.expired {
            return Err(UploadError::Expired(upload.expires_at));
        }
        if let Some(target) = target {
            lock(files, &mut transaction, target).await?;
        }
        finish(files, &mut transaction, &upload, declared).await?;
    }
    let mut file = tables::files::by_id(&mut transaction, upload.file_id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if is_first && let Some(target) = target {
        let pointed = vec![Pointed::at(target, &file)];
        files.pointing.point(&mut transaction, pointed).await?;
    }
    transaction.commit().await?;
    match (file.sha256, declared) {
        (None, None) if is_first => file.sha256 = digest::at_once(files, &file).await,
        (None, Some(_)) => file.sha256 = Some(digest::of_stored(files, &file).await?),
        _ => {}
    }
    if declared.is_some() && file.sha256 != declared {
        return Err(UploadError::DigestMismatch {
            algorithm: "SHA-256",
        });
    }
    Ok(file)
}

/// Before users and accounts are.
async fn lock(
    files: &Files,
    connection: &mut PgConnection,
    target: &Target,
) -> Result<(), UploadError> {
    let outcomes = files.pointing.lock(connection, vec![target]).await?;
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// Counts rows, which takes seconds for a file of terabytes, and so runs before the session is
/// locked: a chunk of an open session is only ever replaced by one that has its receipts.
async fn check_receipts(
    connection: &mut PgConnection,
    id: FileId,
) -> Result<ChunkLayout, UploadError> {
    let file = tables::files::uploading(connection, id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let layout = file.layout().ok_or(UploadError::InProgress)?;
    let (count, first) = blobs::tables::chunks::missing(
        connection,
        id,
        layout.chunk_count() as u32,
        file.scheme,
        MISSING_NAMED,
    )
    .await?;
    match count {
        0 => Ok(layout),
        _ => Err(UploadError::ChunksMissing { count, first }),
    }
}

/// From where on there are chunks that lie behind the file's last one: nobody pays for them, and their nodes would earn.
async fn behind_the_last(
    connection: &mut PgConnection,
    id: FileId,
    layout: ChunkLayout,
) -> sqlx::Result<Option<u32>> {
    let from = layout.chunk_count() as u32;
    let strays = blobs::tables::chunks::some_from(connection, id, from, 1).await?;
    Ok((!strays.is_empty()).then_some(from))
}

/// Takes chunks of an open session away, from an index on.
async fn take_away(
    files: &Files,
    user: UserId,
    id: UploadId,
    from: u32,
) -> Result<(), UploadError> {
    loop {
        let mut transaction = files.db.begin().await?;
        let upload = tables::uploads::lock(&mut transaction, id, user)
            .await?
            .ok_or(UploadError::NotFound)?;
        if upload.state != UploadState::Open {
            return Ok(()); // completed meanwhile, and so without them
        }
        let were_all = chunk_commit::take_some_away(&mut transaction, upload.file_id, from).await?;
        transaction.commit().await?;
        files.blobs.purge_wake.wake();
        if were_all {
            return Ok(());
        }
    }
}

async fn finish(
    files: &Files,
    connection: &mut PgConnection,
    upload: &Upload,
    verified: Option<[u8; 32]>,
) -> Result<(), UploadError> {
    let file = tables::files::uploading(connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let layout = file.layout().ok_or(UploadError::InProgress)?;
    // One that was on its way has come since they were looked for.
    let strays_from = behind_the_last(connection, file.id, layout).await?;
    if strays_from.is_some() {
        return Err(UploadError::InProgress);
    }
    billing::tables::earnings::mark_surplus(connection, file.id, layout, file.scheme).await?;
    let priced = Priced {
        size_bytes: layout.size_bytes,
        terms: file.terms,
        scheme: file.scheme,
        price: files.billing.money.price_per_gb_month,
    };
    let paid = priced.month()?.min(upload.hold);
    let at = days::ledger_now(connection).await?;
    let commit = FileCommit::new(
        file.id,
        upload.user_id,
        priced,
        (paid, Funds::held_for(upload)),
        at,
    )?;
    let unused = commit.returned.trial;
    accounts::tables::users::return_trial(connection, upload.user_id, unused).await?; // before the accounts
    let charge = Movement {
        kind: transfer_kind::CHARGE,
        key: format!("charge:{}", upload.id),
        cause: &json!({"upload_id": upload.id, "file_id": upload.file_id}),
        entries: &commit.charge_hold(),
    };
    posting::post(connection, &files.entropy, charge).await?;
    let meter = commit.meter;
    let paid_until = meter.kept_until(at);
    let kept = Kept {
        paid_until,
        renew_at: charges::renew_at(&files.billing, paid_until),
    };
    tables::files::mark_ready(connection, file.id, &meter, kept).await?;
    // Only now: a replica that was demoted while the file was not stored yet earns nothing, and no event says so.
    let held =
        billing::tables::earnings::holdings(connection, file.id, layout, file.scheme).await?;
    billing::tables::earnings::record(connection, file.id, at, "complete", &held).await?;
    match verified {
        // The session is locked now: what was read back is what stands.
        Some(_) if !tables::digests::is_current(connection, file.id).await? => {
            return Err(UploadError::DigestPending);
        }
        Some(sha256) => {
            tables::digests::finish(connection, file.id, &sha256).await?;
        }
        None => tables::digests::enqueue(connection, file.id, digest::JOB_AFTER).await?,
    }
    tables::uploads::mark_completed(connection, upload.id).await?;
    Ok(())
}

/// Gives an unfinished upload up: credits come back, blobs are purged.
pub async fn abort(files: &Files, user: UserId, id: UploadId) -> Result<(), UploadError> {
    let mut transaction = files.db.begin().await?;
    let upload = tables::uploads::lock(&mut transaction, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Closed);
    }
    discard(&files.entropy, &mut transaction, &upload, "aborted").await?;
    transaction.commit().await?;
    files.forget_wake.wake();
    Ok(())
}

/// Ends one session whose time is up; `false` when there is none.
pub async fn expire_one(files: &Files) -> Result<bool, UploadError> {
    let mut transaction = files.db.begin().await?;
    let Some(upload) = tables::uploads::lock_one_expired(&mut transaction).await? else {
        return Ok(false);
    };
    discard(&files.entropy, &mut transaction, &upload, "expired").await?;
    transaction.commit().await?;
    files.forget_wake.wake();
    tracing::info!(upload_id = %upload.id, "an unfinished upload expired");
    Ok(true)
}

/// Gives up a session whose row is locked: credits come back, what was stored is forgotten.
pub(in crate::files) async fn discard(
    entropy: &Entropy,
    connection: &mut PgConnection,
    upload: &Upload,
    reason: &str,
) -> Result<(), UploadError> {
    // The user's row before the accounts.
    let user = upload.user_id;
    accounts::tables::users::remove_file(connection, user).await?;
    let returned = Funds::held_for(upload).give_back(upload.hold);
    accounts::tables::users::return_trial(connection, user, returned.trial).await?;
    let release = Movement {
        kind: transfer_kind::RELEASE,
        key: format!("release:{}", upload.id),
        cause: &json!({"upload_id": upload.id, "reason": reason}),
        entries: &[
            (chart::upload_hold(user), -upload.hold),
            (chart::available(user), returned.own),
            (chart::INCOME, returned.trial),
        ],
    };
    posting::post(connection, entropy, release).await?;
    tables::files::mark_deleted(connection, upload.file_id).await?;
    Ok(())
}
