//! Accounts, short ways to post and seal, and looks into the database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use ledger::{
    Account, AccountKind, Movement, PLATFORM, PostError, Posted, Sealed, Transfer, TransferId,
    TransferKind,
};
use proto::MicroCredits;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use uuid::Uuid;

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

pub(crate) const INCOME: Account = Account::new(PLATFORM, AccountKind::new("platform", "income"));
pub(crate) const OUTSIDE: Account = Account::new(PLATFORM, AccountKind::new("platform", "outside"));

const AVAILABLE: AccountKind = AccountKind::new("user", "available");
const UPLOAD_HOLD: AccountKind = AccountKind::new("user", "upload_hold");
const ESCROW: AccountKind = AccountKind::new("user", "escrow");

pub(crate) fn available(user: Uuid) -> Account {
    Account::new(user, AVAILABLE)
}

pub(crate) fn upload_hold(user: Uuid) -> Account {
    Account::new(user, UPLOAD_HOLD)
}

pub(crate) fn escrow(user: Uuid) -> Account {
    Account::new(user, ESCROW)
}

fn fresh() -> Uuid {
    static MADE: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(MADE.fetch_add(1, Ordering::Relaxed).into())
}

/// A user with empty accounts.
pub(crate) async fn user(pool: &PgPool) -> Uuid {
    let user = fresh();
    let kinds = [AVAILABLE, UPLOAD_HOLD, ESCROW];
    open(pool, user, &kinds).await.unwrap();
    user
}

pub(crate) async fn open(pool: &PgPool, owner: Uuid, kinds: &[AccountKind]) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    ledger::open_accounts(&mut connection, owner, kinds).await
}

pub(crate) fn transfer(key: &str, entries: &[(Account, i64)]) -> Transfer {
    let entries = entries.iter();
    let entries: Vec<_> = entries
        .map(|(account, amount)| (*account, MicroCredits::new(*amount)))
        .collect();
    let movement = Movement {
        kind: TransferKind::new("test"),
        key: key.to_owned(),
        cause: &serde_json::json!({"why": key}),
        entries: &entries,
    };
    let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    let transfer = movement.transfer(TransferId::from_uuid(fresh()), at);
    transfer.unwrap().unwrap()
}

/// Posts a transfer in a transaction of its own, which an error rolls back.
pub(crate) async fn post(
    pool: &PgPool,
    key: &str,
    entries: &[(Account, i64)],
) -> Result<Posted, PostError> {
    let transfer = transfer(key, entries);
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
    let mut connection = pool.acquire().await.unwrap();
    let balance = ledger::balance(&mut connection, account).await;
    balance.unwrap().get()
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

pub(crate) fn is_check_violation(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(sqlx::error::DatabaseError::is_check_violation)
}

/// Ends a test that would wait for ever. No outcome depends on how long it is.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(Duration::from_secs(60), Box::pin(future));
    (limited.await).unwrap_or_else(|_| panic!("what this test waits for does not happen"))
}

/// Returns once somebody in this database waits for a lock.
pub(crate) async fn waits_for_lock(pool: &PgPool) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    soon(async {
        while count(pool, waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
