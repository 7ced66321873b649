//! Looks into the database, and rows that no request makes.

use coordinator::accounts;
use kit::{Clock, Entropy};

use coordinator::bookkeeping::chart;
use coordinator::bookkeeping::chart::transfer_kind;
use ledger::{Account, Movement, PostError, Posted, Sealed, TransferId};
use model::ids::{UserId, uuid_v7};
use model::names::Email;
use proto::{BlobId, MicroCredits, NodeId};
use sqlx::PgPool;

use super::eventually;

/// A user with empty accounts, whose password nobody knows.
pub(crate) async fn user(pool: &PgPool) -> UserId {
    let id = UserId::from_uuid(uuid_v7(Clock::system().now(), &mut Entropy::system().rng()));
    let email = Email::try_from(format!("{id}@example.com")).unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let added = accounts::tables::users::insert(&mut transaction, id, &email, "no hash").await;
    assert!(added.unwrap());
    let accounts = ledger::open_accounts(&mut transaction, id.as_uuid(), &chart::OF_USERS).await;
    accounts.unwrap();
    transaction.commit().await.unwrap();
    begin_session(pool, id).await;
    id
}

/// A login of this user that lasts, with the user's id.
pub(crate) async fn begin_session(pool: &PgPool, user: UserId) {
    sqlx::query(
        "INSERT INTO sessions (session_id, family_id, user_id, expires_at)
         VALUES ($1, $1, $1, '2999-01-01')",
    )
    .bind(user.as_uuid())
    .execute(pool)
    .await
    .unwrap();
}

/// Posts a transfer in a transaction of its own, which an error rolls back.
pub(crate) async fn post(
    pool: &PgPool,
    key: &str,
    entries: &[(Account, i64)],
) -> Result<Posted, PostError> {
    let now = Clock::system().now();
    let entries = entries.iter();
    let entries: Vec<_> = entries
        .map(|(account, amount)| (*account, MicroCredits::new(*amount)))
        .collect();
    let movement = Movement {
        kind: transfer_kind::PURCHASE,
        key: key.to_owned(),
        cause: &serde_json::json!({"why": key}),
        entries: &entries,
    };
    let id = TransferId::from_uuid(uuid_v7(now, &mut Entropy::system().rng()));
    let transfer = movement.transfer(id, now)?.unwrap();
    let mut transaction = pool.begin().await?;
    let posted = ledger::post(&mut transaction, &transfer).await?;
    transaction.commit().await?;
    Ok(posted)
}

pub(crate) async fn seal(pool: &PgPool, limit: i64) -> Option<Sealed> {
    let mut transaction = pool.begin().await.unwrap();
    let sealed = ledger::seal_block(&mut transaction, limit).await;
    transaction.commit().await.unwrap();
    sealed.unwrap()
}

pub(crate) async fn balance(pool: &PgPool, account: Account) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT balance_microcredits FROM accounts WHERE owner_id = $1 AND account = $2",
    );
    let query = query.bind(account.owner).bind(account.kind.name());
    query.fetch_one(pool).await.unwrap()
}

/// What all entries on an account sum to.
pub(crate) async fn total(pool: &PgPool, account: Account) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT coalesce(sum(amount_microcredits), 0)::bigint FROM entries
         WHERE owner_id = $1 AND account = $2",
    );
    let query = query.bind(account.owner).bind(account.kind.name());
    query.fetch_one(pool).await.unwrap()
}

/// The one number that a query without parameters gives.
pub(crate) async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

/// What the outbox holds for a node, due or not, in order of blob id.
pub(crate) async fn purges_of(pool: &PgPool, node: NodeId) -> Vec<BlobId> {
    let query = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT blob_id FROM purges WHERE node_id = $1 ORDER BY blob_id",
    );
    let rows = query.bind(node.as_uuid()).fetch_all(pool).await.unwrap();
    let blobs = rows.iter().map(|row| BlobId::try_from(&row[..]).unwrap());
    blobs.collect()
}

/// Returns once somebody in this database waits for a lock.
pub(crate) async fn waits_for_lock(pool: &PgPool) {
    wait_for_locks(pool, 1).await;
}

/// Until so many transactions wait for a lock.
pub(crate) async fn wait_for_locks(pool: &PgPool, transactions: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(|| async { (count(pool, waiting).await >= transactions).then_some(()) }).await;
}
