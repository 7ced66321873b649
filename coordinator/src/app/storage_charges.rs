//! What a stored file costs its owner, from `complete` to its end. Deletion and expiry come together
//! in [`end`]; whoever takes a file away calls it first, in the same transaction.

use std::time::Duration;

use jiff::Timestamp;
use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use super::App;
use super::ledger::{self, Movement};
use crate::db;
use crate::db::files::File;
use crate::db::ledger::PostError;
use crate::domain::file_meter::FileMeter;
use crate::domain::ledger::{Account, TransferKind};
use crate::domain::money::AmountTooLarge;

/// How soon a renewal that could not be paid is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    Price(#[from] AmountTooLarge),
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Why a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileEnd {
    /// Its owner wants it so.
    Deleted,
    /// Its escrow is used up.
    Expired,
}

/// Ends a file's use of storage: the last charge and the refund for its owner, and no more earnings for
/// its nodes. The file's row is locked, and users and accounts are not yet.
pub async fn end(
    connection: &mut PgConnection,
    file: &File,
    why: FileEnd,
) -> Result<(), ChargeError> {
    // What is used up ends when it was, however late that is noticed; no day is cut off before.
    let at = db::earnings::ledger_now(connection)
        .await?
        .min(file.paid_until);
    let charged_until = db::users::remove_file(connection, file.user_id).await?; // before the accounts
    let last = file.meter().end(charged_until, at)?;
    let (kind, name) = match why {
        FileEnd::Deleted => (TransferKind::Delete, "delete"),
        FileEnd::Expired => (TransferKind::Expire, "expire"),
    };
    let settle = Movement {
        kind,
        key: format!("{name}:{}", file.id),
        cause: &json!({
            "file_id": file.id,
            "since": file.completed_at,
            "until": at,
            "size_bytes": file.layout.size_bytes,
            "replicas": file.replication,
            "price_microcredits": file.price.microcredits(),
            "paid_microcredits": file.paid,
        }),
        entries: &[
            (Account::escrow(file.user_id), -last.escrow),
            (Account::INCOME, last.income),
            (Account::ROUNDING, last.rounding),
            (Account::available(file.user_id), last.refund),
        ],
    };
    ledger::post(connection, settle).await?;
    db::earnings::record_end(connection, file.id, at, name).await?;
    Ok(())
}

/// When the renewal of a file is tried first; `None` for one that is paid for for good.
pub fn renew_at(app: &App, meter: &FileMeter) -> Option<Timestamp> {
    meter.renew_at(app.config.money.renewal_before)
}

/// Renews one file that is due, or notes that it is in grace; `false` when none is due.
pub async fn renew_one(app: &App) -> Result<bool, ChargeError> {
    let mut transaction = app.db.begin().await?;
    let Some(file) = db::files::lock_renewable(&mut transaction).await? else {
        return Ok(false);
    };
    if !renew(app, &mut transaction, &file).await? {
        db::files::mark_grace(&mut transaction, file.id, RENEWAL_RETRY).await?;
        if file.grace_since.is_none() {
            let paid_until = file.paid_until;
            tracing::info!(file_id = %file.id, %paid_until, "a file's renewal cannot be paid");
        }
    }
    transaction.commit().await?;
    Ok(true)
}

/// Pays another month; `false` when the owner cannot.
async fn renew(app: &App, connection: &mut PgConnection, file: &File) -> Result<bool, ChargeError> {
    let mut meter = file.meter();
    let cost = meter.renewal()?;
    let available = db::ledger::lock_available(connection, file.user_id).await?;
    if available < cost {
        return Ok(false);
    }
    let renewal = Movement {
        kind: TransferKind::Renew,
        key: format!("renew:{}:{}", file.id, file.paid.get()),
        cause: &json!({"file_id": file.id, "paid_until": file.paid_until}),
        entries: &[
            (Account::available(file.user_id), -cost),
            (Account::escrow(file.user_id), cost),
        ],
    };
    ledger::post(connection, renewal).await?;
    meter.paid = MicroCredits::checked_sum([meter.paid, cost]).ok_or(AmountTooLarge)?;
    db::files::mark_renewed(connection, file.id, &meter, renew_at(app, &meter)).await?;
    Ok(true)
}

/// Deletes one file whose escrow is used up, unless its owner can pay by now; `false` when there is
/// none.
pub async fn expire_one(app: &App) -> Result<bool, ChargeError> {
    let mut transaction = app.db.begin().await?;
    let Some(file) = db::files::lock_unpaid(&mut transaction).await? else {
        return Ok(false);
    };
    if !renew(app, &mut transaction, &file).await? {
        end(&mut transaction, &file, FileEnd::Expired).await?;
        db::files::mark_deleted(&mut transaction, file.id).await?;
        tracing::info!(file_id = %file.id, "a file was not paid for any longer and is deleted");
    }
    transaction.commit().await?;
    app.forget_nudge.notify_one();
    Ok(true)
}
