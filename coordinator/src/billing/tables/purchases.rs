//! `purchases`: what was bought, and how far it has come. `purchase_days`: how often each account bought today.

use std::time::Duration;

use jiff::Timestamp;
use model::money::UsdCents;
use model::payment::PurchaseState;
use proto::MicroCredits;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use ledger::TransferId;
use model::ids::UserId;

#[derive(Debug, Clone)]
pub struct Purchase {
    pub id: Uuid,
    pub user: UserId,
    pub idempotency_key: String,
    pub provider: String,
    pub provider_key: String,
    pub amount: UsdCents,
    pub credited: MicroCredits,
    pub state: PurchaseState,
    /// The provider's name for the payment, once it has answered.
    pub payment: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    pub transfer_id: Option<TransferId>,
    pub age: Duration,
}

struct Row {
    purchase_id: Uuid,
    user_id: Uuid,
    idempotency_key: String,
    provider: String,
    provider_key: String,
    amount_cents: i64,
    credits_microcredits: i64,
    state: String,
    payment: Option<String>,
    reason: Option<String>,
    transfer_id: Option<Uuid>,
    age_seconds: f64,
}

impl TryFrom<Row> for Purchase {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let state = row.state.parse();
        Ok(Self {
            id: row.purchase_id,
            user: UserId::from_uuid(row.user_id),
            idempotency_key: row.idempotency_key,
            provider: row.provider,
            provider_key: row.provider_key,
            amount: UsdCents::new(row.amount_cents.unsigned_abs()),
            credited: MicroCredits::new(row.credits_microcredits),
            state: state.map_err(|error| corrupt("purchases.state", error))?,
            payment: row.payment,
            reason: row.reason,
            transfer_id: row.transfer_id.map(TransferId::from_uuid),
            age: Duration::try_from_secs_f64(row.age_seconds).unwrap_or_default(),
        })
    }
}

/// A purchase that nobody has been asked for yet.
#[derive(Debug)]
pub struct NewPurchase<'a> {
    pub id: Uuid,
    pub user: UserId,
    pub idempotency_key: &'a str,
    pub provider: &'a str,
    pub provider_key: &'a str,
    pub amount: UsdCents,
    pub credited: MicroCredits,
}

/// Writes it down; nobody else looks at it for `lease`.
pub async fn insert(
    connection: &mut PgConnection,
    new: &NewPurchase<'_>,
    lease: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO purchases (purchase_id, user_id, idempotency_key, provider, provider_key, amount_cents,
                                credits_microcredits, try_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))",
        new.id,
        new.user.as_uuid(),
        new.idempotency_key,
        new.provider,
        new.provider_key,
        new.amount.get().cast_signed(),
        new.credited.get(),
        lease.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads purchases by any condition.
macro_rules! select {
    ($condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT purchase_id, user_id, idempotency_key, provider, provider_key, amount_cents,
                      credits_microcredits, state, payment, reason, transfer_id,
                      extract(epoch FROM greatest(now() - created_at, '0'))::float8 AS "age_seconds!"
               FROM purchases WHERE "# + $condition,
            $($argument),*
        )
    };
}

pub async fn by_key(
    connection: &mut PgConnection,
    user: UserId,
    idempotency_key: &str,
) -> sqlx::Result<Option<Purchase>> {
    let row = select!(
        "user_id = $1 AND idempotency_key = $2",
        user.as_uuid(),
        idempotency_key
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Purchase::try_from).transpose()
}

pub async fn by_id(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Purchase>> {
    let row = select!("purchase_id = $1", id);
    let row = row.fetch_optional(connection).await?;
    row.map(Purchase::try_from).transpose()
}

/// Locked until the transaction ends.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Purchase>> {
    let row = select!("purchase_id = $1 FOR UPDATE", id);
    let row = row.fetch_optional(connection).await?;
    row.map(Purchase::try_from).transpose()
}

/// The purchase that a payment of this provider is for: the one that it carries, or else the one that knows its name.
pub async fn of_payment(
    connection: &mut PgConnection,
    provider: &str,
    payment: &str,
    carried: Option<Uuid>,
) -> sqlx::Result<Option<Purchase>> {
    let row = select!(
        "provider = $1 AND (payment = $2 OR purchase_id = $3) ORDER BY payment IS NULL LIMIT 1",
        provider,
        payment,
        carried
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Purchase::try_from).transpose()
}

/// A purchase as who made it may take it along.
#[derive(Debug, Serialize)]
pub struct OwnPurchase {
    pub purchase_id: Uuid,
    pub provider: String,
    pub payment: Option<String>,
    pub amount_cents: i64,
    pub credits_microcredits: i64,
    pub state: String,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub settled_at: Option<Timestamp>,
}

/// A user's, the newest first.
pub async fn made_by(
    connection: &mut PgConnection,
    user: UserId,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<OwnPurchase>> {
    let rows = sqlx::query!(
        "SELECT purchase_id, provider, payment, amount_cents, credits_microcredits, state, reason, created_at, settled_at
         FROM purchases WHERE user_id = $1 AND ($2::uuid IS NULL OR purchase_id < $2)
         ORDER BY purchase_id DESC LIMIT $3",
        user.as_uuid(),
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| OwnPurchase {
        purchase_id: row.purchase_id,
        provider: row.provider,
        payment: row.payment,
        amount_cents: row.amount_cents,
        credits_microcredits: row.credits_microcredits,
        state: row.state,
        reason: row.reason,
        created_at: row.created_at.to_jiff(),
        settled_at: row.settled_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Ok(rows.collect())
}

/// Purchases of an account that have not settled.
pub async fn open_of(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM purchases WHERE user_id = $1 AND state = 'pending'"#,
        user.as_uuid(),
    )
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(open).unwrap_or(u32::MAX))
}

/// A pending purchase that is to be looked at, out of everybody else's reach for `lease`.
pub async fn take_due(
    connection: &mut PgConnection,
    provider: &str,
    lease: Duration,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE purchases SET try_at = now() + make_interval(secs => $2)
         WHERE purchase_id = (SELECT purchase_id FROM purchases
                              WHERE state = 'pending' AND provider = $1 AND try_at <= now()
                              ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING purchase_id",
        provider,
        lease.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await
}

/// What the provider calls it, if that is not known yet, and when a pending one is looked at again.
pub async fn look_again(
    connection: &mut PgConnection,
    id: Uuid,
    payment: Option<&str>,
    after: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE purchases SET payment = coalesce(payment, $2), try_at = now() + make_interval(secs => $3)
         WHERE purchase_id = $1",
        id,
        payment,
        after.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Its credits have moved.
pub async fn pay(
    connection: &mut PgConnection,
    id: Uuid,
    payment: &str,
    transfer: TransferId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE purchases SET state = 'paid', payment = $2, transfer_id = $3, reason = NULL, settled_at = now()
         WHERE purchase_id = $1",
        id,
        payment,
        transfer.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn fail(
    connection: &mut PgConnection,
    id: Uuid,
    payment: Option<&str>,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE purchases SET state = 'failed', payment = coalesce(payment, $2), reason = $3, settled_at = now()
         WHERE purchase_id = $1",
        id,
        payment,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Between paid and reversed.
pub async fn set_state(
    connection: &mut PgConnection,
    id: Uuid,
    state: PurchaseState,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE purchases SET state = $2 WHERE purchase_id = $1",
        id,
        state.name()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts one more purchase of this user today; how many there are. Those of one user wait for each other.
pub async fn count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    let purchases = sqlx::query_scalar!(
        "INSERT INTO purchase_days (user_id, day, purchases)
         VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1)
         ON CONFLICT (user_id, day) DO UPDATE SET purchases = purchase_days.purchases + 1
         RETURNING purchases",
        user.as_uuid(),
    )
    .fetch_one(connection)
    .await?;
    Ok(purchases.unsigned_abs())
}

/// Forgets who bought before today.
pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM purchase_days WHERE (user_id, day) IN
             (SELECT user_id, day FROM purchase_days
              WHERE day < (now() AT TIME ZONE 'UTC')::date LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
