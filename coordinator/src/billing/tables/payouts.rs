//! `payouts`: credits on their way out.

use std::time::Duration;

use jiff::Timestamp;
use model::money::UsdCents;
use model::payment::PayoutState;
use proto::{MicroCredits, NodeId};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use ledger::TransferId;
use model::ids::UserId;

#[derive(Debug, Clone)]
pub struct Payout {
    pub id: Uuid,
    pub node_id: NodeId,
    pub amount: MicroCredits,
    /// What the provider is asked for.
    pub cents: UsdCents,
    pub transfer_id: TransferId,
    pub state: PayoutState,
    pub provider: String,
    pub provider_key: String,
    pub destination: Option<String>,
    /// The provider's name for the payment, once it has answered.
    pub payment: Option<String>,
    /// Why it was refused, or what the provider said last.
    pub reason: Option<String>,
    /// How often the provider was asked, the question that is under way included.
    pub attempts: u32,
    pub created_at: Timestamp,
}

struct Row {
    payout_id: Uuid,
    node_id: Uuid,
    amount_microcredits: i64,
    amount_cents: i64,
    transfer_id: Uuid,
    state: String,
    provider: String,
    provider_key: String,
    destination: Option<String>,
    payment: Option<String>,
    reason: Option<String>,
    attempts: i32,
    created_at: jiff_sqlx::Timestamp,
}

impl TryFrom<Row> for Payout {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let state = row.state.parse();
        Ok(Self {
            id: row.payout_id,
            node_id: NodeId::from_uuid(row.node_id),
            amount: MicroCredits::new(row.amount_microcredits),
            cents: UsdCents::new(row.amount_cents.unsigned_abs()),
            transfer_id: TransferId::from_uuid(row.transfer_id),
            state: state.map_err(|error| corrupt("payouts.state", error))?,
            provider: row.provider,
            provider_key: row.provider_key,
            destination: row.destination,
            payment: row.payment,
            reason: row.reason,
            attempts: row.attempts.unsigned_abs(),
            created_at: row.created_at.to_jiff(),
        })
    }
}

/// Reads payouts by any condition. One without a provider is of a coordinator of the release before.
macro_rules! select {
    ($condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT payout_id, node_id, amount_microcredits, coalesce(amount_cents, 0) AS "amount_cents!",
                      transfer_id, state, coalesce(provider, 'mock') AS "provider!",
                      coalesce(provider_key, 'payout:'::text || payout_id::text) AS "provider_key!",
                      destination, payment, reason, attempts, created_at
               FROM payouts WHERE "# + $condition,
            $($argument),*
        )
    };
}

/// Writes it down as one that the provider is being asked for; nobody else asks for `lease`.
pub async fn insert(
    connection: &mut PgConnection,
    payout: &Payout,
    idempotency_key: &str,
    lease: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO payouts (payout_id, node_id, amount_microcredits, amount_cents, idempotency_key, transfer_id,
                              provider, provider_key, destination, attempts, try_at, look_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, 'infinity', now() + make_interval(secs => $10))",
        payout.id,
        payout.node_id.as_uuid(),
        payout.amount.get(),
        payout.cents.get().cast_signed(),
        idempotency_key,
        payout.transfer_id.as_uuid(),
        payout.provider,
        payout.provider_key,
        payout.destination,
        lease.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn by_key(
    connection: &mut PgConnection,
    node: NodeId,
    idempotency_key: &str,
) -> sqlx::Result<Option<Payout>> {
    let row = select!(
        "node_id = $1 AND idempotency_key = $2",
        node.as_uuid(),
        idempotency_key
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Payout::try_from).transpose()
}

pub async fn by_id(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Payout>> {
    let row = select!("payout_id = $1", id);
    let row = row.fetch_optional(connection).await?;
    row.map(Payout::try_from).transpose()
}

/// Locked until the transaction ends.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Payout>> {
    let row = select!("payout_id = $1 FOR UPDATE", id);
    let row = row.fetch_optional(connection).await?;
    row.map(Payout::try_from).transpose()
}

/// A node's, the newest first.
pub async fn of_node(
    connection: &mut PgConnection,
    node: NodeId,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Payout>> {
    let rows = select!(
        "node_id = $1 AND ($2::uuid IS NULL OR payout_id < $2) ORDER BY payout_id DESC LIMIT $3",
        node.as_uuid(),
        before,
        limit
    );
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(Payout::try_from).collect()
}

/// A payout as whose node it was for may take it along.
#[derive(Debug, Serialize)]
pub struct OwnPayout {
    pub payout_id: Uuid,
    pub node_id: Uuid,
    pub amount_microcredits: i64,
    pub amount_cents: Option<i64>,
    pub state: String,
    pub provider: Option<String>,
    pub destination: Option<String>,
    pub payment: Option<String>,
    pub reason: Option<String>,
    pub created_at: Timestamp,
}

/// Those of an operator's nodes, the newest first.
pub async fn of_operator(
    connection: &mut PgConnection,
    operator: UserId,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<OwnPayout>> {
    let rows = sqlx::query!(
        "SELECT payout_id, p.node_id, amount_microcredits, amount_cents, p.state, provider, destination, payment,
                reason, p.created_at
         FROM payouts p JOIN nodes n ON n.node_id = p.node_id
         WHERE n.operator_id = $1 AND ($2::uuid IS NULL OR payout_id < $2) ORDER BY payout_id DESC LIMIT $3",
        operator.as_uuid(),
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| OwnPayout {
        payout_id: row.payout_id,
        node_id: row.node_id,
        amount_microcredits: row.amount_microcredits,
        amount_cents: row.amount_cents,
        state: row.state,
        provider: row.provider,
        destination: row.destination,
        payment: row.payment,
        reason: row.reason,
        created_at: row.created_at.to_jiff(),
    });
    Ok(rows.collect())
}

/// The payout that a transfer of this provider is for.
pub async fn of_transfer(
    connection: &mut PgConnection,
    provider: &str,
    transfer: &str,
    carried: Option<Uuid>,
) -> sqlx::Result<Option<Payout>> {
    let row = select!(
        "provider = $1 AND (payment = $2 OR payout_id = $3) ORDER BY payment IS NULL LIMIT 1",
        provider,
        transfer,
        carried
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Payout::try_from).transpose()
}

/// A payout that the provider is to be asked for, and counts as asked for from now on; out of everybody else's reach
/// for `lease`.
pub async fn take_due(
    connection: &mut PgConnection,
    provider: &str,
    lease: Duration,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE payouts SET look_at = now() + make_interval(secs => $2), try_at = 'infinity', attempts = attempts + 1
         WHERE payout_id = (SELECT payout_id FROM payouts
                            WHERE state = 'pending' AND coalesce(provider, 'mock') = $1
                              AND coalesce(look_at, try_at) <= now()
                            ORDER BY coalesce(look_at, try_at) LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING payout_id",
        provider,
        lease.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await
}

/// It is still pending: what is known of it, and when it is looked at again.
pub async fn look_again(
    connection: &mut PgConnection,
    id: Uuid,
    payment: Option<&str>,
    reason: Option<&str>,
    after: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payouts SET payment = coalesce($2, payment), reason = coalesce($3, reason),
                            look_at = now() + make_interval(secs => $4)
         WHERE payout_id = $1 AND state = 'pending'",
        id,
        payment,
        reason,
        after.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    state: PayoutState,
    payment: Option<&str>,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payouts SET state = $2, payment = coalesce($3, payment), reason = $4 WHERE payout_id = $1",
        id,
        state.name(),
        payment,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}
