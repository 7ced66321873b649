//! `disputes`: payments that were called back, and what was taken for them.

use std::time::Duration;

use model::money::UsdCents;
use model::payment::DisputeState;
use proto::MicroCredits;
use rules::disputes::Taking;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;

#[derive(Debug, Clone)]
pub struct Dispute {
    /// The provider's name for it.
    pub name: String,
    pub purchase: Uuid,
    pub state: DisputeState,
    pub taken: Taking,
}

struct Row {
    dispute: String,
    purchase_id: Uuid,
    state: String,
    taken_microcredits: i64,
    lost_microcredits: i64,
}

impl TryFrom<Row> for Dispute {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let state = row.state.parse();
        Ok(Self {
            name: row.dispute,
            purchase: row.purchase_id,
            state: state.map_err(|error| corrupt("disputes.state", error))?,
            taken: Taking {
                from_account: MicroCredits::new(row.taken_microcredits),
                from_losses: MicroCredits::new(row.lost_microcredits),
            },
        })
    }
}

/// Notes one, or that a known one is to be looked at.
pub async fn note(
    connection: &mut PgConnection,
    provider: &str,
    name: &str,
    purchase: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO disputes (provider, dispute, purchase_id, try_at) VALUES ($1, $2, $3, now())
         ON CONFLICT (provider, dispute) DO UPDATE SET try_at = now()
         WHERE disputes.state IN ('noted', 'taken')",
        provider,
        name,
        purchase,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn is_known(
    connection: &mut PgConnection,
    provider: &str,
    name: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM disputes WHERE provider = $1 AND dispute = $2) AS "known!""#,
        provider,
        name,
    )
    .fetch_one(connection)
    .await
}

/// One that is to be looked at, out of everybody else's reach for `lease`.
pub async fn take_due(
    connection: &mut PgConnection,
    provider: &str,
    lease: Duration,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "UPDATE disputes SET try_at = now() + make_interval(secs => $2)
         WHERE (provider, dispute) = (SELECT provider, dispute FROM disputes
                                      WHERE provider = $1 AND try_at <= now()
                                      ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING dispute",
        provider,
        lease.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await
}

pub async fn by_name(
    connection: &mut PgConnection,
    provider: &str,
    name: &str,
) -> sqlx::Result<Option<Dispute>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT dispute, purchase_id, state, taken_microcredits, lost_microcredits
         FROM disputes WHERE provider = $1 AND dispute = $2",
        provider,
        name,
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Dispute::try_from).transpose()
}

/// What disputes of a purchase have taken and not given back.
pub async fn taken_of(connection: &mut PgConnection, purchase: Uuid) -> sqlx::Result<MicroCredits> {
    let taken = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(taken_microcredits + lost_microcredits), 0)::bigint AS "taken!"
           FROM disputes WHERE purchase_id = $1 AND state = 'taken'"#,
        purchase,
    )
    .fetch_one(connection)
    .await?;
    Ok(MicroCredits::new(taken))
}

/// What was done about it, and after what time it is looked at again, if ever.
pub async fn update(
    connection: &mut PgConnection,
    provider: &str,
    dispute: &Dispute,
    amount: UsdCents,
    again: Option<Duration>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE disputes SET state = $3, amount_cents = $4, taken_microcredits = $5, lost_microcredits = $6,
                             try_at = now() + make_interval(secs => $7)
         WHERE provider = $1 AND dispute = $2",
        provider,
        dispute.name,
        dispute.state.name(),
        amount.get().cast_signed(),
        dispute.taken.from_account.get(),
        dispute.taken.from_losses.get(),
        again.map(|again| again.as_secs_f64()),
    )
    .execute(connection)
    .await?;
    Ok(())
}
