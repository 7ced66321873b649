//! `payouts`: credits on their way out.

use std::time::Duration;

use proto::{MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use ledger::TransferId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutState {
    /// The provider has yet to be told.
    Pending,
    Paid,
    /// The credits came back.
    Refused,
}

impl PayoutState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Refused => "refused",
        }
    }

    fn from_name(name: &str) -> sqlx::Result<Self> {
        [Self::Pending, Self::Paid, Self::Refused]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| corrupt("payouts.state", name))
    }
}

#[derive(Debug, Clone)]
pub struct Payout {
    pub id: Uuid,
    pub node_id: NodeId,
    pub amount: MicroCredits,
    pub transfer_id: TransferId,
    pub state: PayoutState,
    /// The provider's name for the payment, or why it refused.
    pub payment: Option<String>,
}

struct Row {
    payout_id: Uuid,
    node_id: Uuid,
    amount_microcredits: i64,
    transfer_id: Uuid,
    state: String,
    payment: Option<String>,
}

impl TryFrom<Row> for Payout {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.payout_id,
            node_id: NodeId::from_uuid(row.node_id),
            amount: MicroCredits::new(row.amount_microcredits),
            transfer_id: TransferId::from_uuid(row.transfer_id),
            state: PayoutState::from_name(&row.state)?,
            payment: row.payment,
        })
    }
}

pub async fn insert(
    connection: &mut PgConnection,
    payout: &Payout,
    idempotency_key: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO payouts (payout_id, node_id, amount_microcredits, idempotency_key, transfer_id,
                              try_at)
         VALUES ($1, $2, $3, $4, $5, now() + interval '1 minute')",
        payout.id,
        payout.node_id.as_uuid(),
        payout.amount.get(),
        idempotency_key,
        payout.transfer_id.as_uuid(),
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
    sqlx::query_as!(
        Row,
        "SELECT payout_id, node_id, amount_microcredits, transfer_id, state, payment
         FROM payouts WHERE node_id = $1 AND idempotency_key = $2",
        node.as_uuid(),
        idempotency_key,
    )
    .fetch_optional(connection)
    .await?
    .map(Payout::try_from)
    .transpose()
}

pub async fn by_id(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Payout>> {
    sqlx::query_as!(
        Row,
        "SELECT payout_id, node_id, amount_microcredits, transfer_id, state, payment
         FROM payouts WHERE payout_id = $1",
        id
    )
    .fetch_optional(connection)
    .await?
    .map(Payout::try_from)
    .transpose()
}

/// A payout that the provider should be told of, out of everybody else's reach for `lease`.
pub async fn take_pending(
    connection: &mut PgConnection,
    lease: Duration,
) -> sqlx::Result<Option<Payout>> {
    sqlx::query_as!(
        Row,
        "UPDATE payouts SET try_at = now() + make_interval(secs => $1)
         WHERE payout_id = (SELECT payout_id FROM payouts WHERE state = 'pending' AND try_at <= now()
                            ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING payout_id, node_id, amount_microcredits, transfer_id, state, payment",
        lease.as_secs_f64()
    )
    .fetch_optional(connection)
    .await?
    .map(Payout::try_from)
    .transpose()
}

/// `None` when it is no longer pending.
pub async fn lock_pending(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Payout>> {
    sqlx::query_as!(
        Row,
        "SELECT payout_id, node_id, amount_microcredits, transfer_id, state, payment
         FROM payouts WHERE payout_id = $1 AND state = 'pending' FOR UPDATE",
        id
    )
    .fetch_optional(connection)
    .await?
    .map(Payout::try_from)
    .transpose()
}

pub async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    state: PayoutState,
    payment: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payouts SET state = $2, payment = $3 WHERE payout_id = $1",
        id,
        state.name(),
        payment,
    )
    .execute(connection)
    .await?;
    Ok(())
}
