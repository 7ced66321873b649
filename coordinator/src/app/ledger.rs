//! Posting: a movement of credits becomes a transfer with an id and a time.

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

/// Posts in the caller's transaction. `None` when there was nothing to move.
pub async fn post(
    connection: &mut PgConnection,
    movement: Movement<'_>,
) -> Result<Option<Posted>, PostError> {
    match transfer(movement)? {
        Some(transfer) => db::ledger::post(connection, &transfer).await.map(Some),
        None => Ok(None),
    }
}

/// The transfer that makes a movement; `None` when there is nothing to move.
pub fn transfer(movement: Movement<'_>) -> sqlx::Result<Option<Transfer>> {
    let now = clock::now();
    Transfer::new(
        TransferId::from_uuid(uuid_v7(now, &mut clock::rng())),
        movement.kind,
        movement.key,
        now,
        movement.cause,
        movement.entries.iter().copied(),
    )
    .map_err(|error| sqlx::Error::Encode(error.into()))
}
