//! How nodes stand: `nodes.state` and what goes with it, `node_state_changes`, `node_demotions`,
//! `fleet_alarms`.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
use model::node_state::{HoldCause, Holds, NodeState};
use rules::fleet_guard::{Alarm, FleetHealth};
use rules::reputation::{Losses, Passes, Reputation, Score};

/// What the columns of a node say of what keeps it from new data.
pub(super) fn holds(
    mass_failure_at: Option<jiff_sqlx::Timestamp>,
    until: Option<jiff_sqlx::Timestamp>,
    cause: Option<String>,
) -> sqlx::Result<Holds> {
    let cause = cause.map(|cause| {
        let cause = cause.parse::<HoldCause>();
        cause.map_err(|error| corrupt("nodes.hold_cause", error))
    });
    Ok(Holds {
        mass_failure_at: mass_failure_at.map(jiff_sqlx::Timestamp::to_jiff),
        until: until
            .map(jiff_sqlx::Timestamp::to_jiff)
            .zip(cause.transpose()?),
    })
}

/// Reads a node's reputation and locks its row.
pub async fn lock_reputation(
    connection: &mut PgConnection,
    node: NodeId,
) -> sqlx::Result<Option<Reputation>> {
    let row = sqlx::query!(
        r#"SELECT state, state_since AS "state_since: jiff_sqlx::Timestamp", score_alpha, score_beta,
                  score_missed, passed_challenges, passed_bytes,
                  coalesce(probation_since, created_at) AS "probation_since!: jiff_sqlx::Timestamp",
                  losses_since AS "losses_since: jiff_sqlx::Timestamp", losses,
                  mass_failure_at AS "mass_failure_at: jiff_sqlx::Timestamp",
                  hold_until AS "hold_until: jiff_sqlx::Timestamp", hold_cause
           FROM nodes WHERE node_id = $1 FOR UPDATE"#,
        node.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Reputation {
            state: row
                .state
                .parse()
                .map_err(|error| corrupt("nodes.state", error))?,
            state_since: row.state_since.to_jiff(),
            score: Score {
                alpha: row.score_alpha.unsigned_abs(),
                beta: row.score_beta.unsigned_abs(),
                missed: row.score_missed.unsigned_abs(),
            },
            passed: Passes {
                count: row.passed_challenges.unsigned_abs(),
                bytes: row.passed_bytes.unsigned_abs(),
            },
            probation_since: row.probation_since.to_jiff(),
            losses: Losses {
                since: row.losses_since.map(jiff_sqlx::Timestamp::to_jiff),
                count: row.losses.unsigned_abs(),
            },
            holds: holds(row.mass_failure_at, row.hold_until, row.hold_cause)?,
        })
    })
    .transpose()
}

/// Writes everything of a reputation but its state, which changes by [`change_state`] only.
pub async fn save_reputation(
    connection: &mut PgConnection,
    node: NodeId,
    reputation: &Reputation,
) -> sqlx::Result<()> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    sqlx::query!(
        "UPDATE nodes SET score_alpha = $2, score_beta = $3, score_missed = $4, passed_challenges = $5,
                passed_bytes = $6, probation_since = $7, losses_since = $8, losses = $9,
                mass_failure_at = $10, hold_until = $11, hold_cause = $12
         WHERE node_id = $1",
        node.as_uuid(),
        signed(reputation.score.alpha),
        signed(reputation.score.beta),
        signed(reputation.score.missed),
        signed(reputation.passed.count),
        signed(reputation.passed.bytes),
        reputation.probation_since.to_sqlx() as _,
        reputation.losses.since.map(ToSqlx::to_sqlx) as _,
        signed(reputation.losses.count),
        reputation.holds.mass_failure_at.map(ToSqlx::to_sqlx) as _,
        reputation.holds.until.map(|(until, _)| until.to_sqlx()) as _,
        reputation.holds.until.map(|(_, cause)| cause.name()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn note_failure(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET last_failure_at = $2 WHERE node_id = $1",
        node.as_uuid(),
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Who or what decided on a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Audit,
    Admin,
    Gone,
    Operator,
}

impl Cause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Admin => "admin",
            Self::Gone => "gone",
            Self::Operator => "operator",
        }
    }
}

/// A line of a node's history that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewState<'a> {
    pub id: Uuid,
    pub node_id: NodeId,
    pub to: NodeState,
    pub cause: Cause,
    pub reason: &'a str,
}

/// Changes a node's state and adds the line of its history; what ends its draining closes the drain. Its
/// replicas are demoted from now on if it is out; where they begin or cease to count for what was promised,
/// their chunks are looked at.
pub async fn change_state(
    connection: &mut PgConnection,
    new: &NewState<'_>,
    now: Timestamp,
) -> sqlx::Result<Option<NodeState>> {
    let from = sqlx::query_scalar!(
        "INSERT INTO node_state_changes (change_id, node_id, at, from_state, to_state, cause, reason)
         SELECT $2, node_id, $3, state, $4, $5, $6 FROM nodes WHERE node_id = $1
         RETURNING from_state",
        new.node_id.as_uuid(),
        new.id,
        now.to_sqlx() as _,
        new.to.name(),
        new.cause.name(),
        new.reason,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(from) = from else { return Ok(None) };
    let from: NodeState = from
        .parse()
        .map_err(|error| corrupt("nodes.state", error))?;
    sqlx::query!(
        "UPDATE nodes SET state = $2, state_reason = $3, state_since = $4 WHERE node_id = $1",
        new.node_id.as_uuid(),
        new.to.name(),
        new.reason,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await?;
    if new.to != NodeState::Draining {
        sqlx::query!(
            "UPDATE drains SET ended_at = $2, ended_as = $3 WHERE node_id = $1 AND ended_at IS NULL",
            new.node_id.as_uuid(),
            now.to_sqlx() as _,
            new.to.name(),
        )
        .execute(&mut *connection)
        .await?;
    }
    if new.to == NodeState::Disqualified {
        work_through(connection, new.node_id, false).await?;
    }
    Ok(Some(from))
}

/// With what reason the replicas of a node that is out are demoted.
const OUT: &str = "the node was disqualified";

/// From now on all replicas of a node are demoted, batch by batch; or, with `undo`, those count again
/// that only this has demoted.
pub async fn work_through(
    connection: &mut PgConnection,
    node: NodeId,
    undo: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO node_demotions (node_id, reason, undo) VALUES ($1, $2, $3)
         ON CONFLICT (node_id) DO UPDATE SET demoted_upto = '', undo = EXCLUDED.undo",
        node.as_uuid(),
        OUT,
        undo,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A line of a node's history.
#[derive(Debug, Clone)]
pub struct StateChangeRow {
    pub at: Timestamp,
    pub from: String,
    pub to: String,
    pub cause: String,
    pub reason: String,
}

/// The newest first.
pub async fn history(
    connection: &mut PgConnection,
    node: NodeId,
    limit: i64,
) -> sqlx::Result<Vec<StateChangeRow>> {
    let rows = sqlx::query!(
        r#"SELECT at AS "at: jiff_sqlx::Timestamp", from_state, to_state, cause, reason
           FROM node_state_changes WHERE node_id = $1 ORDER BY change_id DESC LIMIT $2"#,
        node.as_uuid(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let changes = rows.into_iter().map(|row| StateChangeRow {
        at: row.at.to_jiff(),
        from: row.from_state,
        to: row.to_state,
        cause: row.cause,
        reason: row.reason,
    });
    Ok(changes.collect())
}

/// Nodes that have been offline for so long, as coordinators have agreed, or never came; but for those that are out,
/// away in order, or kept out by this network. Their rows are locked; those that others hold are passed over.
pub async fn gone(
    connection: &mut PgConnection,
    offline_for: Duration,
    limit: i64,
) -> sqlx::Result<Vec<NodeId>> {
    let ids = sqlx::query_scalar!(
        "SELECT node_id FROM nodes
         WHERE CASE WHEN last_seen_at IS NULL THEN created_at ELSE offline_since END
               <= now() - make_interval(secs => $1)
           AND state NOT IN ('drained', 'disqualified') AND awaits_adoption_since IS NULL
         ORDER BY node_id LIMIT $2 FOR UPDATE SKIP LOCKED",
        offline_for.as_secs_f64(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(NodeId::from_uuid).collect())
}

/// The next replicas of a node that is out, or was and is not any more.
#[derive(Debug)]
pub struct DemotionBatch {
    pub node_id: NodeId,
    pub reason: String,
    /// Those that were demoted for this reason count again.
    pub undo: bool,
    pub blobs: Vec<BlobId>,
}

/// Takes a batch under the lock of its row, and moves on behind it; at the end the row goes.
pub async fn take_demotions(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<Option<DemotionBatch>> {
    let row = sqlx::query!(
        "SELECT node_id, demoted_upto, reason, undo FROM node_demotions
         ORDER BY node_id LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let blobs = sqlx::query_scalar!(
        "SELECT blob_id FROM replicas WHERE node_id = $1 AND blob_id > $2
         ORDER BY blob_id LIMIT $3",
        row.node_id,
        &row.demoted_upto,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    match blobs.last() {
        Some(last) => {
            sqlx::query!(
                "UPDATE node_demotions SET demoted_upto = $2 WHERE node_id = $1",
                row.node_id,
                last,
            )
            .execute(connection)
            .await?
        }
        None => {
            sqlx::query!("DELETE FROM node_demotions WHERE node_id = $1", row.node_id)
                .execute(connection)
                .await?
        }
    };
    let blobs = blobs
        .iter()
        .map(|blob| Ok(BlobId::from_bytes(hash32("replicas.blob_id", blob)?)));
    Ok(Some(DemotionBatch {
        node_id: NodeId::from_uuid(row.node_id),
        reason: row.reason,
        undo: row.undo,
        blobs: blobs.collect::<sqlx::Result<_>>()?,
    }))
}

/// How many nodes failed a proof or went offline since then, of those that did or are here. That a node is offline
/// is what coordinators have agreed upon: while none of them can look, nobody is.
pub async fn fleet_health(
    connection: &mut PgConnection,
    since: Timestamp,
) -> sqlx::Result<FleetHealth> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "nodes!",
                  count(*) FILTER (WHERE last_failure_at >= $1 OR offline_since >= $1) AS "troubled!"
           FROM nodes
           WHERE state NOT IN ('drained', 'disqualified') AND awaits_adoption_since IS NULL
             AND (last_failure_at >= $1 OR offline_since >= $1
                  OR (offline_since IS NULL AND last_seen_at IS NOT NULL))"#,
        since.to_sqlx() as _,
    )
    .fetch_one(connection)
    .await?;
    Ok(FleetHealth {
        nodes: row.nodes.unsigned_abs(),
        troubled: row.troubled.unsigned_abs(),
    })
}

/// The newest alarm, over or not.
pub async fn last_alarm(connection: &mut PgConnection) -> sqlx::Result<Option<Alarm>> {
    let row = sqlx::query!(
        r#"SELECT raised_at AS "raised_at: jiff_sqlx::Timestamp",
                  until AS "until: jiff_sqlx::Timestamp"
           FROM fleet_alarms ORDER BY raised_at DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Alarm {
        raised_at: row.raised_at.to_jiff(),
        until: row.until.to_jiff(),
    }))
}

pub async fn raise_alarm(
    connection: &mut PgConnection,
    alarm: &Alarm,
    health: FleetHealth,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO fleet_alarms (raised_at, until, nodes, troubled) VALUES ($1, $2, $3, $4)
         ON CONFLICT (raised_at) DO NOTHING",
        alarm.raised_at.to_sqlx() as _,
        alarm.until.to_sqlx() as _,
        i64::try_from(health.nodes).unwrap_or(i64::MAX),
        i64::try_from(health.troubled).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends an alarm that is on; `false` when none is.
pub async fn end_alarm(
    connection: &mut PgConnection,
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let ended = sqlx::query!(
        "UPDATE fleet_alarms SET until = $2, ended_by = $1 WHERE until > $2",
        reason,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() > 0)
}
