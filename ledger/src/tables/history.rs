//! What the ledger holds, read in order: an owner's own transfers, and all of it for verification and export.

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use proto::MicroCredits;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::{TableError, hash32};
use crate::rules::{Account, Hash, PLATFORM, TransferId, TransferKind};

/// A transfer as one of its owners sees it.
#[derive(Debug, Clone)]
pub struct OwnTransfer {
    pub id: TransferId,
    pub kind: String,
    /// What the account gained or lost; zero where another one of the owner did.
    pub amount: MicroCredits,
    pub at: Timestamp,
    pub cause: serde_json::Value,
    pub hash: Hash,
    pub block: Option<i64>,
    /// With `cause_text` and `entries` what it takes to work the hash out anew.
    pub idempotency_key: String,
    /// The text that was hashed.
    pub cause_text: String,
    /// All of the transfer, other owners' among them. Owner, account and amount, in order.
    pub entries: Vec<(Uuid, String, MicroCredits)>,
}

/// The transfers of an account's owner, with what each moved on this account. Newest first.
pub async fn transfers_of(
    connection: &mut PgConnection,
    account: Account,
    before: Option<TransferId>,
    limit: i64,
) -> Result<Vec<OwnTransfer>, TableError> {
    let rows = sqlx::query!(
        r#"WITH own AS (
               SELECT e.transfer_id,
                      coalesce(sum(e.amount_microcredits) FILTER (WHERE e.account = $4), 0)::bigint AS amount
               FROM entries e WHERE e.owner_id = $1 AND ($2::uuid IS NULL OR e.transfer_id < $2)
               GROUP BY e.transfer_id ORDER BY e.transfer_id DESC LIMIT $3)
           SELECT t.transfer_id, t.kind, t.idempotency_key, t.at, t.cause::text AS "cause!", t.hash, t.block,
                  own.amount AS "amount!", e.owners AS "owners?", e.accounts AS "accounts?",
                  e.amounts AS "amounts?"
           FROM own JOIN transfers t USING (transfer_id)
           LEFT JOIN LATERAL (
               SELECT array_agg(owner_id ORDER BY owner_id, account COLLATE "C") AS owners,
                      array_agg(account ORDER BY owner_id, account COLLATE "C") AS accounts,
                      array_agg(amount_microcredits ORDER BY owner_id, account COLLATE "C") AS amounts
               FROM entries WHERE entries.transfer_id = t.transfer_id) AS e ON true
           ORDER BY t.transfer_id DESC"#,
        account.owner,
        before.map(|id| id.as_uuid()),
        limit,
        account.kind.name(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OwnTransfer {
                id: TransferId::from_uuid(row.transfer_id),
                kind: row.kind,
                amount: MicroCredits::new(row.amount),
                at: row.at.to_jiff(),
                cause: serde_json::from_str(&row.cause)
                    .map_err(|error| TableError::corrupt("transfers.cause", error))?,
                hash: hash32("transfers.hash", &row.hash)?,
                block: row.block,
                idempotency_key: row.idempotency_key,
                cause_text: row.cause,
                entries: entries_of(row.owners, row.accounts, row.amounts),
            })
        })
        .collect()
}

fn entries_of(
    owners: Option<Vec<Uuid>>,
    accounts: Option<Vec<String>>,
    amounts: Option<Vec<i64>>,
) -> Vec<(Uuid, String, MicroCredits)> {
    let owners = owners.unwrap_or_default().into_iter();
    let accounts = accounts.unwrap_or_default().into_iter();
    let amounts = amounts.unwrap_or_default().into_iter();
    owners
        .zip(accounts)
        .zip(amounts)
        .map(|((owner, account), amount)| (owner, account, MicroCredits::new(amount)))
        .collect()
}

/// What a transfer moved on one account: to tell a repeated request from a different one.
pub async fn amount_on(
    connection: &mut PgConnection,
    transfer: TransferId,
    account: Account,
) -> sqlx::Result<MicroCredits> {
    let amount = sqlx::query_scalar!(
        "SELECT amount_microcredits FROM entries
         WHERE transfer_id = $1 AND owner_id = $2 AND account = $3",
        transfer.as_uuid(),
        account.owner,
        account.kind.name(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(MicroCredits::new(amount.unwrap_or(0)))
}

/// The transfer that was posted under an idempotency key.
pub async fn posted(connection: &mut PgConnection, key: &str) -> sqlx::Result<Option<TransferId>> {
    let id = sqlx::query_scalar!(
        "SELECT transfer_id FROM transfers WHERE idempotency_key = $1",
        key
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(TransferId::from_uuid))
}

/// Whether a transfer of this kind ever moved something on the account.
pub async fn has_transfer(
    connection: &mut PgConnection,
    account: Account,
    kind: TransferKind,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM entries e JOIN transfers t USING (transfer_id)
                          WHERE e.owner_id = $1 AND e.account = $2 AND t.kind = $3) AS "has!""#,
        account.owner,
        account.kind.name(),
        kind.name(),
    )
    .fetch_one(connection)
    .await
}

/// A transaction to which the database is one moment. Nobody waits for it, so it may take its time.
pub async fn snapshot(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut transaction = pool.begin().await?;
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *transaction)
        .await?;
    sqlx::query!("SET LOCAL idle_in_transaction_session_timeout = 0")
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// A block, as its row says.
#[derive(Debug, Clone)]
pub(crate) struct BlockRow {
    pub(crate) number: u64,
    pub(crate) previous_hash: Hash,
    pub(crate) hash: Hash,
    pub(crate) transfers: u64,
}

/// A transfer, as its rows say.
#[derive(Debug, Clone)]
pub struct TransferRow {
    pub id: TransferId,
    pub kind: String,
    pub idempotency_key: String,
    pub at: Timestamp,
    pub cause: String,
    pub hash: Hash,
    /// Owner, account and amount, in order.
    pub entries: Vec<(Uuid, String, MicroCredits)>,
}

/// Every transfer with its block, in order of block and id; those that are not sealed come last. A
/// block without transfers and a transfer without block stand alone.
pub(crate) fn history(
    connection: &mut PgConnection,
) -> impl Stream<Item = Result<(Option<BlockRow>, Option<TransferRow>), TableError>> + '_ {
    sqlx::query!(
        r#"SELECT b.block_number AS "block_number?", b.previous_hash AS "previous_hash?",
                  b.hash AS "block_hash?", b.transfer_count AS "transfer_count?",
                  t.transfer_id AS "transfer_id?", t.kind AS "kind?",
                  t.idempotency_key AS "idempotency_key?", t.at AS "at?: jiff_sqlx::Timestamp",
                  t.cause::text AS "cause?", t.hash AS "hash?",
                  e.owners AS "owners?", e.accounts AS "accounts?", e.amounts AS "amounts?"
           FROM blocks b FULL JOIN transfers t ON t.block = b.block_number
           LEFT JOIN LATERAL (
               SELECT array_agg(owner_id ORDER BY owner_id, account COLLATE "C") AS owners,
                      array_agg(account ORDER BY owner_id, account COLLATE "C") AS accounts,
                      array_agg(amount_microcredits ORDER BY owner_id, account COLLATE "C") AS amounts
               FROM entries WHERE entries.transfer_id = t.transfer_id) AS e ON true
           ORDER BY b.block_number NULLS LAST, t.transfer_id"#
    )
    .fetch(connection)
    .map(|row| {
        let row = row?;
        let block = match (row.block_number, row.previous_hash, row.block_hash) {
            (Some(number), Some(previous), Some(hash)) => Some(BlockRow {
                number: number.unsigned_abs(),
                previous_hash: hash32("blocks.previous_hash", &previous)?,
                hash: hash32("blocks.hash", &hash)?,
                transfers: u64::from(row.transfer_count.unwrap_or(0).unsigned_abs()),
            }),
            _ => None,
        };
        let transfer = match (row.transfer_id, row.hash, row.at) {
            (Some(id), Some(hash), Some(at)) => {
                Some(TransferRow {
                    id: TransferId::from_uuid(id),
                    kind: row.kind.unwrap_or_default(),
                    idempotency_key: row.idempotency_key.unwrap_or_default(),
                    at: at.to_jiff(),
                    cause: row.cause.unwrap_or_default(),
                    hash: hash32("transfers.hash", &hash)?,
                    entries: entries_of(row.owners, row.accounts, row.amounts),
                })
            }
            _ => None,
        };
        Ok((block, transfer))
    })
}

/// An account whose balance is not what its entries come to, or is negative and may not be.
#[derive(Debug, Clone)]
pub(crate) struct WrongBalance {
    pub(crate) owner: Uuid,
    pub(crate) account: String,
    pub(crate) balance: i64,
    pub(crate) entries: String,
}

/// Platform balances follow the sealer: what is not sealed is left out there.
pub(crate) async fn wrong_balances(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<WrongBalance>, TableError> {
    sqlx::query_as!(
        WrongBalance,
        r#"SELECT a.owner_id AS owner, a.account, a.balance_microcredits AS balance,
                  coalesce(e.amount, 0)::text AS "entries!"
           FROM accounts a LEFT JOIN account_kinds k USING (owner_kind, account) LEFT JOIN (
               SELECT e.owner_id, e.account, sum(e.amount_microcredits) AS amount
               FROM entries e JOIN transfers t USING (transfer_id)
               WHERE t.block IS NOT NULL OR e.owner_id <> $1
               GROUP BY e.owner_id, e.account) AS e ON e.owner_id = a.owner_id AND e.account = a.account
           WHERE a.balance_microcredits <> coalesce(e.amount, 0)
              OR (a.balance_microcredits < 0 AND k.may_be IS DISTINCT FROM 'any')
           ORDER BY a.owner_id, a.account LIMIT $2"#,
        PLATFORM,
        limit,
    )
    .fetch_all(connection)
    .await
    .map_err(TableError::Database)
}
