//! Files are paid for month by month; one whose owner cannot pay ends when its escrow is used up.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{chart, posting};
use ledger::Movement;
use std::time::Duration;

use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use crate::billing::charges;
use crate::billing::charges::{ChargeError, FileEnd};
use crate::database;
use crate::files::tables::files::Kept;
use crate::files::{Files, tables};
use model::file::File;
use model::money::AmountTooLarge;
use rules::file_meter::FileMeter;

/// How soon a renewal that could not be paid is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(3600);

/// Renews one file that is due, or notes that it is in grace; `false` when none is due.
pub async fn renew_one(files: &Files) -> Result<bool, ChargeError> {
    let mut transaction = files.db.begin().await?;
    let Some(file) = tables::files::lock_renewable(&mut transaction).await? else {
        return Ok(false);
    };
    if !renew(files, &mut transaction, &file).await? {
        tables::files::mark_grace(&mut transaction, file.id, RENEWAL_RETRY).await?;
        if file.grace_since.is_none() {
            let paid_until = file.paid_until;
            tracing::info!(file_id = %file.id, %paid_until, "a file's renewal cannot be paid");
        }
    }
    transaction.commit().await?;
    Ok(true)
}

/// Pays another month of a locked file, where what was paid before does not reach further; `false` when the owner cannot.
pub async fn renew(
    files: &Files,
    connection: &mut PgConnection,
    file: &File,
) -> Result<bool, ChargeError> {
    let mut meter = FileMeter::of(file);
    let now = database::now(connection).await?;
    let cost = meter.renewal(file.paid_until, now)?;
    let available = ledger::lock_balance(connection, chart::available(file.user_id)).await?;
    if available < cost {
        return Ok(false);
    }
    let renewal = Movement {
        kind: transfer_kind::RENEW,
        key: format!("renew:{}:{}", file.id, file.paid.get()),
        cause: &json!({"file_id": file.id, "paid_until": file.paid_until}),
        entries: &[
            (chart::available(file.user_id), -cost),
            (chart::escrow(file.user_id), cost),
        ],
    };
    posting::post(connection, &files.entropy, renewal).await?;
    meter.paid = MicroCredits::checked_sum([meter.paid, cost]).ok_or(AmountTooLarge)?;
    let paid_until = meter.kept_until(now).max(file.paid_until);
    let kept = Kept {
        paid_until,
        renew_at: charges::renew_at(&files.billing, paid_until),
    };
    tables::files::mark_renewed(connection, file.id, meter.paid, kept).await?;
    Ok(true)
}

/// Deletes one file whose escrow is used up, unless its owner can pay by now; `false` when there is
/// none.
pub async fn expire_one(files: &Files) -> Result<bool, ChargeError> {
    let mut transaction = files.db.begin().await?;
    let Some(file) = tables::files::lock_unpaid(&mut transaction).await? else {
        return Ok(false);
    };
    if !renew(files, &mut transaction, &file).await? {
        charges::end(&mut transaction, &files.entropy, &file, FileEnd::Expired).await?;
        tables::files::mark_deleted(&mut transaction, file.id).await?;
        tracing::info!(file_id = %file.id, "a file was not paid for any longer and is deleted");
    }
    transaction.commit().await?;
    files.forget_wake.wake();
    Ok(true)
}
