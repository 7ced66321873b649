//! What a stored file costs its owner, from `complete` to its end. Deletion and expiry come together
//! in [`end`]; whoever takes a file away calls it first, in the same transaction.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::tables::days;
use crate::bookkeeping::{chart, posting};
use jiff::Timestamp;
use kit::Entropy;
use ledger::{Movement, PostError, TableError};
use proto::Malformed;
use serde_json::json;
use sqlx::PgConnection;

use crate::accounts;
use crate::billing::{Billing, tables};

use model::file::File;
use model::money::AmountTooLarge;
use rules::file_meter::{self, FileMeter};

#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    Price(#[from] AmountTooLarge),
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Head(#[from] TableError),
    #[error("the ledger's head cannot be signed")]
    Signing(#[source] Malformed),
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
    entropy: &Entropy,
    file: &File,
    why: FileEnd,
) -> Result<(), ChargeError> {
    // What is used up ends when it was, however late that is noticed; no day is cut off before.
    let at = days::ledger_now(connection).await?.min(file.paid_until);
    let charged_until = accounts::tables::users::remove_file(connection, file.user_id).await?; // before the accounts
    let meter = FileMeter::of(file);
    let last = meter.end(charged_until, at)?;
    accounts::tables::users::return_trial(connection, file.user_id, last.trial).await?;
    let income = last.income.checked_add(last.trial).ok_or(AmountTooLarge)?;
    let (kind, name) = match why {
        FileEnd::Deleted => (transfer_kind::DELETE, "delete"),
        FileEnd::Expired => (transfer_kind::EXPIRE, "expire"),
    };
    let mut cause = json!({
        "file_id": file.id,
        "since": file.completed_at,
        "until": at,
        "size_bytes": file.layout.size_bytes,
        "billed_bytes": meter.billed_bytes,
        "replicas": file.scheme.pieces(),
        "price_microcredits": file.price.microcredits(),
        "paid_microcredits": file.paid,
        "trial_microcredits": file.trial,
    });
    if file.scheme.is_coded() {
        cause["data_pieces"] = file.scheme.needed().into();
    }
    let settle = Movement {
        kind,
        key: format!("{name}:{}", file.id),
        cause: &cause,
        entries: &[
            (chart::escrow(file.user_id), -last.escrow),
            (chart::INCOME, income),
            (chart::ROUNDING, last.rounding),
            (chart::available(file.user_id), last.refund),
        ],
    };
    posting::post(connection, entropy, settle).await?;
    tables::earnings::record_end(connection, file.id, at, name).await?;
    Ok(())
}

/// When the renewal of a file is tried first.
pub fn renew_at(billing: &Billing, paid_until: Timestamp) -> Timestamp {
    file_meter::renew_at(paid_until, billing.money.renewal_before)
}
