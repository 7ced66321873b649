//! The coordinator suspects itself when much of the fleet fails at once.

use jiff::{SignedDuration, Timestamp};
use proto::NodeId;
use sqlx::PgConnection;

use crate::database::Pool;

use crate::fleet::{Nodes, tables};

use rules::fleet_guard::{Alarm, WINDOW};

/// Whether failures are not held against a node now: much of the fleet fails at once, or the database was
/// restored and does not know what the node holds.
pub async fn excuses(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let alarm = tables::node_status::last_alarm(connection).await?;
    let alarm_is_on = alarm.is_some_and(|alarm| alarm.is_on(now));
    Ok(alarm_is_on || tables::awaiting_restore::is_in_doubt(connection, node).await?)
}

/// Looks at the fleet; raises the alarm when a quarter of it has failed or gone offline within ten
/// minutes. What happened before this process began, or before the last alarm ended, is no news: while
/// the coordinator itself was away, nobody could be seen.
pub async fn watch_fleet(nodes: &Nodes, now: Timestamp) -> anyhow::Result<()> {
    let mut connection = nodes.db.acquire().await?;
    let last = tables::node_status::last_alarm(&mut connection).await?;
    if last.as_ref().is_some_and(|alarm| alarm.is_on(now)) {
        return Ok(());
    }
    let since = now
        .saturating_sub(WINDOW)?
        .max(nodes.started_at)
        .max(last.map_or(Timestamp::MIN, |alarm| alarm.until));
    let health = tables::node_status::fleet_health(&mut connection, since).await?;
    if !health.is_mass_failure() {
        return Ok(());
    }
    let hold = SignedDuration::try_from(nodes.mass_failure_hold)?;
    let alarm = Alarm {
        raised_at: now,
        until: now.saturating_add(hold)?,
    };
    tables::node_status::raise_alarm(&mut connection, &alarm, health).await?;
    nodes.metrics.fleet_alarms.inc();
    tracing::error!(
        nodes = health.nodes, troubled = health.troubled, until = %alarm.until,
        "so many nodes failed or went offline within ten minutes that the fault may be here: nothing \
         is demoted for now. Look at this coordinator's network and disk; `coordinator admin repair \
         resume` ends the hold"
    );
    Ok(())
}

/// Ends the alarm that is on; `false` when none is.
pub async fn end_alarm(pool: &Pool, reason: &str, now: Timestamp) -> sqlx::Result<bool> {
    let mut connection = pool.acquire().await?;
    tables::node_status::end_alarm(&mut connection, reason, now).await
}
