//! Posting: all of a transfer or nothing of it, and the balances that it moves.
//!
//! Takes no lock that all transfers share: the accounts of users and nodes are locked in one order, those of
//! the platform are left to the sealer.

use jiff_sqlx::ToSqlx;
use proto::MicroCredits;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::rules::{Account, Entry, InvalidTransfer, PLATFORM, Transfer, TransferId};

/// What posting a transfer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It stands in the ledger now.
    New(TransferId),
    /// A transfer with its idempotency key stood there before; nothing was changed.
    Before(TransferId),
}

/// The transaction has to be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("{account} has {available} and needs {needed}")]
    Insufficient {
        account: Account,
        available: MicroCredits,
        needed: MicroCredits,
    },
    #[error("the account {0} does not exist")]
    UnknownAccount(Account),
    #[error(transparent)]
    Invalid(#[from] InvalidTransfer),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Writes a transfer and moves balances, in the caller's transaction. Locks the rows of its accounts, in
/// order; the platform's balances are the sealer's.
pub async fn post(connection: &mut PgConnection, transfer: &Transfer) -> Result<Posted, PostError> {
    let inserted = sqlx::query_scalar!(
        "INSERT INTO transfers (transfer_id, kind, idempotency_key, at, cause, hash)
         VALUES ($1, $2, $3, $4, $5::text::json, $6)
         ON CONFLICT (idempotency_key) DO NOTHING RETURNING transfer_id",
        transfer.id.as_uuid(),
        transfer.kind.name(),
        transfer.idempotency_key,
        transfer.at.to_sqlx(),
        transfer.cause,
        &transfer.hash()[..],
    )
    .fetch_optional(&mut *connection)
    .await?;
    if inserted.is_none() {
        let id = sqlx::query_scalar!(
            "SELECT transfer_id FROM transfers WHERE idempotency_key = $1",
            transfer.idempotency_key
        )
        .fetch_one(&mut *connection)
        .await?;
        return Ok(Posted::Before(TransferId::from_uuid(id)));
    }
    move_balances(&mut *connection, transfer.entries()).await?;
    let (owners, accounts, amounts) = columns(transfer.entries().iter());
    sqlx::query!(
        "INSERT INTO entries (transfer_id, owner_id, account, amount_microcredits)
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::bigint[])",
        transfer.id.as_uuid(),
        &owners,
        &accounts,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(Posted::New(transfer.id))
}

/// Writes transfers of which none was ever posted, all together. The caller has locked the accounts, those of
/// the platform left out, and knows that they have enough; the database refuses what would overdraw one.
pub async fn post_new(connection: &mut PgConnection, transfers: &[Transfer]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = transfers.iter().map(|t| t.id.as_uuid()).collect();
    let kinds: Vec<String> = transfers.iter().map(|t| t.kind.name().to_owned()).collect();
    let keys: Vec<String> = transfers
        .iter()
        .map(|t| t.idempotency_key.clone())
        .collect();
    let times: Vec<jiff_sqlx::Timestamp> = transfers.iter().map(|t| t.at.to_sqlx()).collect();
    let causes: Vec<String> = transfers.iter().map(|t| t.cause.clone()).collect();
    let hashes: Vec<Vec<u8>> = transfers.iter().map(|t| t.hash().to_vec()).collect();
    let entries = || transfers.iter().flat_map(Transfer::entries);
    let counts = transfers
        .iter()
        .map(|t| (t.id.as_uuid(), t.entries().len()));
    let of_transfers: Vec<Uuid> = counts
        .flat_map(|(id, count)| std::iter::repeat_n(id, count))
        .collect();
    let (owners, accounts, amounts) = columns(entries());
    sqlx::query!(
        "WITH transfer AS (
             INSERT INTO transfers (transfer_id, kind, idempotency_key, at, cause, hash)
             SELECT id, kind, key, at, cause::json, hash
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bytea[])
                 AS t (id, kind, key, at, cause, hash)),
         entry AS (
             INSERT INTO entries (transfer_id, owner_id, account, amount_microcredits)
             SELECT * FROM unnest($7::uuid[], $8::uuid[], $9::text[], $10::bigint[])
             RETURNING owner_id, account, amount_microcredits)
         UPDATE accounts SET balance_microcredits = balance_microcredits + moved.amount
         FROM (SELECT owner_id, account, sum(amount_microcredits)::bigint AS amount
               FROM entry GROUP BY owner_id, account) AS moved
         WHERE accounts.owner_id = moved.owner_id AND accounts.account = moved.account
           AND accounts.owner_id <> $11",
        &ids,
        &kinds,
        &keys,
        &times as &[jiff_sqlx::Timestamp],
        &causes,
        &hashes,
        &of_transfers,
        &owners,
        &accounts,
        &amounts,
        PLATFORM,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_balances(connection: &mut PgConnection, entries: &[Entry]) -> Result<(), PostError> {
    let own = || entries.iter().filter(|(account, _)| !account.is_platform());
    let (owners, accounts, amounts) = columns(own());
    let balances = sqlx::query!(
        r#"SELECT owner_id, account, balance_microcredits,
                  (SELECT may_be = 'any' FROM account_kinds kind
                   WHERE kind.owner_kind = accounts.owner_kind AND kind.account = accounts.account) AS "may_owe!"
           FROM accounts
           WHERE (owner_id, account) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))
           ORDER BY owner_id, account FOR UPDATE"#,
        &owners,
        &accounts,
    )
    .fetch_all(&mut *connection)
    .await?;
    for (account, amount) in own() {
        let row = balances
            .iter()
            .find(|row| row.owner_id == account.owner && row.account == account.kind.name())
            .ok_or(PostError::UnknownAccount(*account))?;
        let available = MicroCredits::new(row.balance_microcredits);
        let after = available.checked_add(*amount);
        if after.is_none_or(|after| after.is_negative() && !row.may_owe) {
            return Err(PostError::Insufficient {
                account: *account,
                available,
                needed: -*amount,
            });
        }
    }
    sqlx::query!(
        "UPDATE accounts SET balance_microcredits = balance_microcredits + e.amount
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS e (owner_id, account, amount)
         WHERE accounts.owner_id = e.owner_id AND accounts.account = e.account",
        &owners,
        &accounts,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns<'a>(entries: impl Iterator<Item = &'a Entry>) -> (Vec<Uuid>, Vec<String>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (account, amount) in entries {
        columns.0.push(account.owner);
        columns.1.push(account.kind.name().to_owned());
        columns.2.push(amount.get());
    }
    columns
}
