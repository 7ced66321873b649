//! Posting: a movement of credits becomes a transfer with an id and a time.

use jiff::Timestamp;
use proto::MicroCredits;
use sqlx::PgConnection;

use crate::clock;
use crate::db;
use crate::db::ledger::{PostError, Posted};
use crate::domain::ids::{TransferId, uuid_v7};
use crate::domain::ledger::{Account, Transfer, TransferKind};

/// What is to be moved, and why.
#[derive(Debug)]
pub struct Movement<'a> {
    pub kind: TransferKind,
    /// Posting twice under one key posts once.
    pub key: String,
    pub cause: &'a serde_json::Value,
    /// Sum to zero; entries of zero are left out.
    pub entries: &'a [(Account, MicroCredits)],
}

/// Posts in the caller's transaction, dated by the database. `None` when there was nothing to move.
pub async fn post(
    connection: &mut PgConnection,
    movement: Movement<'_>,
) -> Result<Option<Posted>, PostError> {
    let at = db::settlement::database_clock(connection).await?;
    match transfer(movement, at)? {
        Some(transfer) => db::ledger::post(connection, &transfer).await.map(Some),
        None => Ok(None),
    }
}

/// The transfer that makes a movement; `None` when there is nothing to move. Times of money are the
/// database's, which all coordinators share; the id is this process's, and orders nothing by itself.
pub fn transfer(movement: Movement<'_>, at: Timestamp) -> sqlx::Result<Option<Transfer>> {
    Transfer::new(
        TransferId::from_uuid(uuid_v7(clock::now(), &mut clock::rng())),
        movement.kind,
        movement.key,
        at,
        movement.cause,
        movement.entries.iter().copied(),
    )
    .map_err(|error| sqlx::Error::Encode(error.into()))
}
