//! What a node has earned, and what it will be paid for the time since the last settled day.

use jiff::Timestamp;
use proto::MicroCredits;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Billing;
use super::tables::penalties;
pub use super::tables::penalties::OwnPenalty;
use super::tables::settlement;
pub use super::tables::settlement::OwnDay;
use crate::fleet::tables::uptime;
use model::node::Node;
use rules::node_pay::{assess, earned};
use rules::uptime::{Rule, Stretch};

/// Penalties that one answer names, the newest; the sums are always whole.
const PENALTIES_NAMED: i64 = 1000;

#[derive(Debug)]
pub struct Earnings {
    pub pending: Pending,
    /// Settled days, the newest first.
    pub days: Vec<OwnDay>,
    /// Of those days.
    pub penalties: Vec<OwnPenalty>,
}

/// What would be paid if the day were cut off now.
#[derive(Debug)]
pub struct Pending {
    pub since: Timestamp,
    /// Plaintext bytes that earn now.
    pub bytes: i64,
    pub byte_ms: u128,
    pub gross: MicroCredits,
    pub uptime_ppm: u32,
    pub earned: MicroCredits,
    pub penalties: MicroCredits,
    pub given_back: MicroCredits,
}

/// Earnings of a node: what is pending, and up to `limit` settled days before the day with this number.
pub async fn earnings(
    billing: &Billing,
    node: &Node,
    before: Option<i64>,
    limit: i64,
) -> anyhow::Result<Earnings> {
    let mut connection = billing.db.acquire().await?;
    let pending = pending(billing, &mut connection, node).await?;
    let days = settlement::days_of_node(&mut connection, node.id, before, limit).await?;
    let numbers: Vec<i64> = days.iter().map(|day| day.day_number).collect();
    let penalties = penalties::of_days(&mut connection, node.id, &numbers, PENALTIES_NAMED).await?;
    Ok(Earnings {
        pending,
        days,
        penalties,
    })
}

async fn pending(
    billing: &Billing,
    connection: &mut PgConnection,
    node: &Node,
) -> anyhow::Result<Pending> {
    let pay = billing.money.pay_per_gb_month;
    let open = settlement::pending(connection, node.id).await?;
    let stretch = Stretch::new(open.since.max(node.created_at), open.until);
    let uptime_ppm = uptime::uptime_ppm(connection, node.id, stretch, Rule::CURRENT).await?;
    let charges = penalties::unsettled(connection, node.id, Timestamp::MAX).await?;
    let assessed = assess(&charges, pay)?;
    let (gross, _) = pay.meter(open.byte_ms, open.carry)?;
    Ok(Pending {
        since: open.since,
        bytes: open.bytes,
        byte_ms: open.byte_ms,
        gross,
        uptime_ppm,
        earned: earned(gross, uptime_ppm),
        penalties: sum(&assessed.penalties),
        given_back: sum(&assessed.given_back),
    })
}

fn sum(list: &[(Uuid, MicroCredits)]) -> MicroCredits {
    let amounts = list.iter().map(|(_, amount)| *amount);
    MicroCredits::checked_sum(amounts).unwrap_or(MicroCredits::new(i64::MAX))
}
