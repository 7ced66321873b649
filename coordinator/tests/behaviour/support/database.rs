//! Looks into the database, and rows that no request makes.

use coordinator::clock;
use coordinator::db;
use coordinator::db::ledger::{PostError, Posted, Sealed};
use coordinator::domain::ids::{TransferId, UserId, uuid_v7};
use coordinator::domain::ledger::{Account, Transfer, TransferKind};
use coordinator::domain::names::Email;
use proto::{BlobId, MicroCredits, NodeId};
use sqlx::PgPool;

use super::eventually;

/// A user with empty accounts, whose password nobody knows.
pub async fn user(pool: &PgPool) -> UserId {
    let id = UserId::from_uuid(uuid_v7(clock::now(), &mut clock::rng()));
    let email = Email::try_from(format!("{id}@example.com")).unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let added = db::users::insert(&mut transaction, id, &email, "no hash").await;
    assert!(added.unwrap());
    let accounts = db::ledger::open_user_accounts(&mut transaction, id).await;
    accounts.unwrap();
    transaction.commit().await.unwrap();
    id
}

/// Posts a transfer in a transaction of its own, which an error rolls back.
pub async fn post(
    pool: &PgPool,
    key: &str,
    entries: &[(Account, i64)],
) -> Result<Posted, PostError> {
    let now = clock::now();
    let transfer = Transfer::new(
        TransferId::from_uuid(uuid_v7(now, &mut clock::rng())),
        TransferKind::Purchase,
        key.to_owned(),
        now,
        &serde_json::json!({"why": key}),
        entries
            .iter()
            .map(|(account, amount)| (*account, MicroCredits::new(*amount))),
    );
    let transfer = transfer.unwrap().unwrap();
    let mut transaction = pool.begin().await?;
    let posted = db::ledger::post(&mut transaction, &transfer).await?;
    transaction.commit().await?;
    Ok(posted)
}

pub async fn seal(pool: &PgPool, limit: i64) -> Option<Sealed> {
    let mut transaction = pool.begin().await.unwrap();
    let sealed = db::ledger::seal_block(&mut transaction, limit).await;
    transaction.commit().await.unwrap();
    sealed.unwrap()
}

pub async fn balance(pool: &PgPool, account: Account) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT balance_microcredits FROM accounts WHERE owner_id = $1 AND account = $2",
    );
    let query = query.bind(account.owner).bind(account.kind.name());
    query.fetch_one(pool).await.unwrap()
}

/// What all entries on an account sum to.
pub async fn total(pool: &PgPool, account: Account) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT coalesce(sum(amount_microcredits), 0)::bigint FROM entries
         WHERE owner_id = $1 AND account = $2",
    );
    let query = query.bind(account.owner).bind(account.kind.name());
    query.fetch_one(pool).await.unwrap()
}

/// The one number that a query without parameters gives.
pub async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

/// What the outbox holds for a node, due or not, in order of blob id.
pub async fn purges_of(pool: &PgPool, node: NodeId) -> Vec<BlobId> {
    let query = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT blob_id FROM purges WHERE node_id = $1 ORDER BY blob_id",
    );
    let rows = query.bind(node.as_uuid()).fetch_all(pool).await.unwrap();
    let blobs = rows.iter().map(|row| BlobId::try_from(&row[..]).unwrap());
    blobs.collect()
}

/// Returns once somebody in this database waits for a lock.
pub async fn waits_for_lock(pool: &PgPool) {
    wait_for_locks(pool, 1).await;
}

/// Until so many transactions wait for a lock.
pub async fn wait_for_locks(pool: &PgPool, transactions: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(|| async { (count(pool, waiting).await >= transactions).then_some(()) }).await;
}
