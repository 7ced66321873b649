//! `accounts`, `transfers`, `entries`, `blocks`: the only module that touches them.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{corrupt, hash32};
use crate::domain::ids::{TransferId, UserId};
use crate::domain::ledger::{Account, AccountKind, Hash, Transfer, block_hash};

/// What posting a transfer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It stands in the ledger now.
    New(TransferId),
    /// A transfer with its idempotency key stood there before; nothing was changed.
    Before(TransferId),
}

#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The transaction has to be rolled back.
    #[error("{account} has {available} and needs {needed}")]
    Insufficient {
        account: Account,
        available: MicroCredits,
        needed: MicroCredits,
    },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Writes a transfer and moves the balances of users and nodes, in the caller's transaction. Locks
/// only their rows, in order; platform balances are the sealer's.
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

/// Writes transfers of which none was ever posted, all together. The caller has locked the accounts of
/// users and nodes and knows that they have enough.
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
           AND owner_kind <> 'platform'",
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
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_balances(
    connection: &mut PgConnection,
    entries: &[(Account, MicroCredits)],
) -> Result<(), PostError> {
    let own = || {
        entries
            .iter()
            .filter(|(account, _)| !account.kind.is_platform())
    };
    let (owners, accounts, amounts) = columns(own());
    let balances = sqlx::query!(
        "SELECT owner_id, account, balance_microcredits FROM accounts
         WHERE (owner_id, account) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))
         ORDER BY owner_id, account FOR UPDATE",
        &owners,
        &accounts,
    )
    .fetch_all(&mut *connection)
    .await?;
    for (account, amount) in own() {
        let row = balances
            .iter()
            .find(|row| row.owner_id == account.owner && row.account == account.kind.name())
            .ok_or_else(|| corrupt("accounts", format!("{account} does not exist")))?;
        let available = MicroCredits::new(row.balance_microcredits);
        let after = available.checked_add(*amount);
        if after.is_none_or(MicroCredits::is_negative) {
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

fn columns<'a>(
    entries: impl Iterator<Item = &'a (Account, MicroCredits)>,
) -> (Vec<Uuid>, Vec<String>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (account, amount) in entries {
        columns.0.push(account.owner);
        columns.1.push(account.kind.name().to_owned());
        columns.2.push(amount.get());
    }
    columns
}

/// Opens the accounts of a new user, all empty.
pub async fn open_user_accounts(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO accounts (owner_id, account, owner_kind)
         SELECT $1, account, 'user' FROM unnest(ARRAY['available', 'upload_hold', 'escrow']) AS account",
        user.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens the accounts of a node, all empty, unless they are there.
pub async fn open_node_accounts(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO accounts (owner_id, account, owner_kind)
         SELECT $1, account, 'node' FROM unnest(ARRAY['held', 'available']) AS account
         ON CONFLICT DO NOTHING",
        node.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserBalance {
    pub available: MicroCredits,
    pub upload_hold: MicroCredits,
    pub escrow: MicroCredits,
}

pub async fn user_balance(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<UserBalance> {
    let row = sqlx::query!(
        r#"SELECT
             coalesce(sum(balance_microcredits) FILTER (WHERE account = 'available'), 0)::bigint AS "available!",
             coalesce(sum(balance_microcredits) FILTER (WHERE account = 'upload_hold'), 0)::bigint AS "upload_hold!",
             coalesce(sum(balance_microcredits) FILTER (WHERE account = 'escrow'), 0)::bigint AS "escrow!"
           FROM accounts WHERE owner_id = $1"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(UserBalance {
        available: MicroCredits::new(row.available),
        upload_hold: MicroCredits::new(row.upload_hold),
        escrow: MicroCredits::new(row.escrow),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeBalance {
    pub node_id: NodeId,
    pub available: MicroCredits,
    pub held: MicroCredits,
}

impl NodeBalance {
    /// All that the node has earned and not been paid out.
    pub fn earned(&self) -> MicroCredits {
        self.available
            .checked_add(self.held)
            .unwrap_or(self.available)
    }
}

/// What a user may spend, locked until the transaction ends.
pub async fn lock_available(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<MicroCredits> {
    let balance = sqlx::query_scalar!(
        "SELECT balance_microcredits FROM accounts
         WHERE owner_id = $1 AND account = 'available' FOR UPDATE",
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(MicroCredits::new(balance))
}

/// What the world beyond has, as far as blocks are sealed: negative by what was sold and not paid out.
pub async fn outside(connection: &mut PgConnection) -> sqlx::Result<MicroCredits> {
    let balance = sqlx::query_scalar!(
        "SELECT balance_microcredits FROM accounts WHERE owner_id = $1 AND account = 'outside'",
        Uuid::nil()
    )
    .fetch_one(connection)
    .await?;
    Ok(MicroCredits::new(balance))
}

/// What a node has held and available, locked until the transaction ends.
pub async fn lock_node(
    connection: &mut PgConnection,
    node: NodeId,
) -> sqlx::Result<(MicroCredits, MicroCredits)> {
    let rows = sqlx::query!(
        "SELECT account, balance_microcredits FROM accounts
         WHERE owner_id = $1 ORDER BY owner_id, account FOR UPDATE",
        node.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let balance = |kind: AccountKind| {
        let row = rows.iter().find(|row| row.account == kind.name());
        MicroCredits::new(row.map_or(0, |row| row.balance_microcredits))
    };
    Ok((
        balance(AccountKind::NodeHeld),
        balance(AccountKind::NodeAvailable),
    ))
}

/// The balances of these nodes; one that is not known is left out.
pub async fn node_balances(
    connection: &mut PgConnection,
    nodes: &[NodeId],
) -> sqlx::Result<Vec<NodeBalance>> {
    let ids: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    let rows = sqlx::query!(
        r#"SELECT owner_id,
             coalesce(sum(balance_microcredits) FILTER (WHERE account = 'available'), 0)::bigint AS "available!",
             coalesce(sum(balance_microcredits) FILTER (WHERE account = 'held'), 0)::bigint AS "held!"
           FROM accounts WHERE owner_id = ANY($1) GROUP BY owner_id"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let balances = rows.into_iter().map(|row| NodeBalance {
        node_id: NodeId::from_uuid(row.owner_id),
        available: MicroCredits::new(row.available),
        held: MicroCredits::new(row.held),
    });
    Ok(balances.collect())
}

/// A transfer as one of its owners sees it.
#[derive(Debug, Clone)]
pub struct OwnTransfer {
    pub id: TransferId,
    pub kind: String,
    /// What `available` gained or lost.
    pub amount: MicroCredits,
    pub at: Timestamp,
    pub cause: serde_json::Value,
    pub hash: Hash,
    pub block: Option<i64>,
}

/// Newest first.
pub async fn transfers_of(
    connection: &mut PgConnection,
    owner: Uuid,
    before: Option<TransferId>,
    limit: i64,
) -> sqlx::Result<Vec<OwnTransfer>> {
    let rows = sqlx::query!(
        r#"SELECT t.transfer_id, t.kind, t.at, t.cause::text AS "cause!", t.hash, t.block,
                  coalesce(sum(e.amount_microcredits) FILTER (WHERE e.account = 'available'), 0)::bigint AS "amount!"
           FROM entries e JOIN transfers t USING (transfer_id)
           WHERE e.owner_id = $1 AND ($2::uuid IS NULL OR e.transfer_id < $2)
           GROUP BY t.transfer_id ORDER BY t.transfer_id DESC LIMIT $3"#,
        owner,
        before.map(|id| id.as_uuid()),
        limit,
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
                    .map_err(|error| corrupt("transfers.cause", error))?,
                hash: hash32("transfers.hash", &row.hash)?,
                block: row.block,
            })
        })
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

/// A block that was just appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub block_number: u64,
    pub transfers: usize,
}

/// Seals committed transfers into the next block, `limit` at most, and carries the platform's
/// balances forward. `None` when there is nothing to seal or another coordinator is at it.
pub async fn seal_block(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Option<Sealed>> {
    const SEALER_LOCK: i64 = 0x6673_6e5f_7365_616c; // "fsn_seal"
    let alone = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock($1) AS "alone!""#,
        SEALER_LOCK
    )
    .fetch_one(&mut *connection)
    .await?;
    if !alone {
        return Ok(None);
    }
    let transfers = sqlx::query!(
        "SELECT transfer_id, hash FROM transfers WHERE block IS NULL ORDER BY transfer_id LIMIT $1",
        limit
    )
    .fetch_all(&mut *connection)
    .await?;
    if transfers.is_empty() {
        return Ok(None);
    }
    let last =
        sqlx::query!("SELECT block_number, hash FROM blocks ORDER BY block_number DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await?;
    let (number, previous) = match last {
        Some(last) => (last.block_number + 1, hash32("blocks.hash", &last.hash)?),
        None => (1, [0; 32]),
    };
    let hashes: Vec<Hash> = transfers
        .iter()
        .map(|transfer| hash32("transfers.hash", &transfer.hash))
        .collect::<sqlx::Result<_>>()?;
    let hash = block_hash(&previous, number as u64, hashes.iter().copied());
    sqlx::query!(
        "INSERT INTO blocks (block_number, previous_hash, hash, transfer_count) VALUES ($1, $2, $3, $4)",
        number,
        &previous[..],
        &hash[..],
        transfers.len() as i32,
    )
    .execute(&mut *connection)
    .await?;
    let ids: Vec<Uuid> = transfers
        .iter()
        .map(|transfer| transfer.transfer_id)
        .collect();
    sqlx::query!(
        "UPDATE transfers SET block = $1 WHERE transfer_id = ANY($2)",
        number,
        &ids
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE accounts SET balance_microcredits = balance_microcredits + moved.amount
         FROM (SELECT owner_id, account, sum(amount_microcredits)::bigint AS amount FROM entries
               WHERE transfer_id = ANY($1) AND owner_id = $2 GROUP BY owner_id, account) AS moved
         WHERE accounts.owner_id = moved.owner_id AND accounts.account = moved.account",
        &ids,
        Uuid::nil(),
    )
    .execute(connection)
    .await?;
    Ok(Some(Sealed {
        block_number: number as u64,
        transfers: ids.len(),
    }))
}
