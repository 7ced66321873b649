//! Posting: a movement of credits becomes a transfer with an id and a time.

use jiff::Timestamp;
use kit::Entropy;
use ledger::{InvalidTransfer, Movement, PostError, Posted, Transfer, TransferId};
use sqlx::PgConnection;

use crate::database;

/// Posts in the caller's transaction, dated by the database. `None` when there was nothing to move.
pub async fn post(
    connection: &mut PgConnection,
    entropy: &Entropy,
    movement: Movement<'_>,
) -> Result<Option<Posted>, PostError> {
    let at = database::now(connection).await?;
    match transfer(entropy, movement, at)? {
        Some(transfer) => ledger::post(connection, &transfer).await.map(Some),
        None => Ok(None),
    }
}

/// The transfer that makes a movement; `None` when there is nothing to move. Times of money are the
/// database's, which all coordinators share; the id is this process's, and orders nothing by itself.
pub fn transfer(
    entropy: &Entropy,
    movement: Movement<'_>,
    at: Timestamp,
) -> Result<Option<Transfer>, InvalidTransfer> {
    let id = TransferId::from_uuid(entropy.uuid_v7(at));
    movement.transfer(id, at)
}
