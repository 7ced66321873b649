//! `nodes.offline_since` and `nodes.away_since`: which nodes are there, as all coordinators agree.
//!
//! Each coordinator writes when it last heard of its nodes (`nodes.last_seen_at`), and at once when it has lost
//! the connection to one (`nodes.lost_at`), which any other that still has one takes back. Whoever comes by next
//! draws the conclusions for all. A change of what a node's replicas count for starts a scan of them in the same
//! transaction.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::NodeId;
use sqlx::PgConnection;
use uuid::Uuid;

/// How long after a node was last heard of it is offline: four heartbeats.
const OFFLINE_AFTER: Duration = Duration::from_secs(20);

/// How long after a coordinator has lost its connection to a node the others, and the node itself, have time to
/// say that it is there. A node that starts again takes longer, and is offline for a moment.
const LOST_FOR: Duration = Duration::from_secs(2);

/// The time by the clock that goes for all coordinators.
pub async fn now(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"SELECT now() AS "now!: jiff_sqlx::Timestamp""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}

/// Nodes that have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub back: Vec<NodeId>,
    pub offline: Vec<NodeId>,
    /// Offline for longer than the grace.
    pub away: Vec<NodeId>,
}

impl Changes {
    /// All of them.
    pub fn nodes(&self) -> Vec<NodeId> {
        let changed = [&self.back, &self.offline, &self.away];
        changed.into_iter().flatten().copied().collect()
    }

    pub const fn is_empty(&self) -> bool {
        self.back.is_empty() && self.offline.is_empty() && self.away.is_empty()
    }
}

/// Concludes from silence. The coordinator has been looking without a break since `watching_since`: nodes
/// that were not seen since then are given `settling` to come here.
pub async fn update(
    connection: &mut PgConnection,
    watching_since: Timestamp,
    settling: Duration,
    grace: Duration,
) -> sqlx::Result<Changes> {
    // In one order, as those who report do.
    sqlx::query!(
        "SELECT node_id FROM nodes
         WHERE offline_since IS NOT NULL OR last_seen_at <= now() - make_interval(secs => $1)
         ORDER BY node_id FOR NO KEY UPDATE",
        OFFLINE_AFTER.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let back = sqlx::query_scalar!(
        "UPDATE nodes SET offline_since = NULL, away_since = NULL
         WHERE offline_since IS NOT NULL AND lost_at IS NULL AND awaits_adoption_since IS NULL
           AND last_seen_at > now() - make_interval(secs => $1)
         RETURNING node_id",
        OFFLINE_AFTER.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let offline = sqlx::query_scalar!(
        "UPDATE nodes SET offline_since = now()
         WHERE offline_since IS NULL AND last_seen_at <= now() - make_interval(secs => $1)
           AND (last_seen_at >= $2 OR now() >= $2 + make_interval(secs => $3))
           AND state NOT IN ('drained', 'disqualified')
         RETURNING node_id",
        OFFLINE_AFTER.as_secs_f64(),
        watching_since.to_sqlx() as _,
        settling.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    conclude(connection, back, offline, grace).await
}

/// Concludes from connections. This coordinator has just lost those to `lost`, and has those to `connected`:
/// a node is offline when one coordinator has lost it and none has told for `LOST_FOR` that it is there.
pub async fn update_connections(
    connection: &mut PgConnection,
    lost: &[NodeId],
    connected: &[NodeId],
    grace: Duration,
) -> sqlx::Result<Changes> {
    let ids = |nodes: &[NodeId]| -> Vec<Uuid> { nodes.iter().map(NodeId::as_uuid).collect() };
    let (lost, connected) = (ids(lost), ids(connected));
    // In one order, as those who report do.
    sqlx::query!(
        "SELECT node_id FROM nodes
         WHERE node_id = ANY($1) OR lost_at IS NOT NULL OR offline_since IS NOT NULL
         ORDER BY node_id FOR NO KEY UPDATE",
        &lost,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE nodes SET lost_at = now() WHERE node_id = ANY($1) AND lost_at IS NULL
           AND state NOT IN ('drained', 'disqualified')",
        &lost,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE nodes SET lost_at = NULL WHERE lost_at IS NOT NULL AND node_id = ANY($1)",
        &connected,
    )
    .execute(&mut *connection)
    .await?;
    let offline = sqlx::query_scalar!(
        "UPDATE nodes SET offline_since = now()
         WHERE offline_since IS NULL AND lost_at <= now() - make_interval(secs => $1)
           AND state NOT IN ('drained', 'disqualified')
         RETURNING node_id",
        LOST_FOR.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    conclude(connection, Vec::new(), offline, grace).await
}

/// Whether there is anything in the database for [`update_connections`] to conclude from.
pub async fn any_lost(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM nodes WHERE lost_at IS NOT NULL AND offline_since IS NULL
             AND state NOT IN ('drained', 'disqualified')) AS "any!""#
    )
    .fetch_one(connection)
    .await
}

/// Who has been offline for too long is away; whoever has changed is gone through.
async fn conclude(
    connection: &mut PgConnection,
    back: Vec<Uuid>,
    offline: Vec<Uuid>,
    grace: Duration,
) -> sqlx::Result<Changes> {
    let away = sqlx::query_scalar!(
        "UPDATE nodes SET away_since = now()
         WHERE away_since IS NULL AND offline_since <= now() - make_interval(secs => $1)
           AND state NOT IN ('drained', 'disqualified')
         RETURNING node_id",
        grace.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let nodes = |ids: Vec<Uuid>| ids.into_iter().map(NodeId::from_uuid).collect();
    let changes = Changes {
        back: nodes(back),
        offline: nodes(offline),
        away: nodes(away),
    };
    Ok(changes)
}

/// How many nodes that hold replicas which count are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    pub offline: u64,
    /// Of these, for longer than the grace.
    pub away: u64,
}

pub async fn unreachable(connection: &mut PgConnection) -> sqlx::Result<Unreachable> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "offline!", count(away_since) AS "away!" FROM nodes
           WHERE offline_since IS NOT NULL AND state NOT IN ('drained', 'disqualified')"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Unreachable {
        offline: row.offline.unsigned_abs(),
        away: row.away.unsigned_abs(),
    })
}
