//! `reconcile_schedule`: when each node is compared with the database, by whom, and what came of it.
//! Times are the database's.

use std::time::Duration;

use jiff::Timestamp;
use proto::NodeId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use rules::inventory::Findings;

/// From now on these nodes are compared, the first time at a random moment of the interval.
pub async fn enter(
    connection: &mut PgConnection,
    nodes: &[NodeId],
    interval: Duration,
) -> sqlx::Result<()> {
    let nodes: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    sqlx::query!(
        "INSERT INTO reconcile_schedule (node_id, due_at)
         SELECT node_id, now() + random() * make_interval(secs => $2)
         FROM unnest($1::uuid[]) AS n (node_id)
         ON CONFLICT (node_id) DO NOTHING",
        &nodes,
        interval.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A node whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub node_id: NodeId,
    /// Whatever is found is to be put right: an administrator has looked.
    pub forced: bool,
}

/// Leases rows of these nodes that are due, the longest overdue first. Those that another coordinator
/// holds are passed over.
pub async fn take_due(
    connection: &mut PgConnection,
    among: &[NodeId],
    lease: Uuid,
    lease_for: Duration,
    limit: usize,
) -> sqlx::Result<Vec<Due>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let rows = sqlx::query!(
        "UPDATE reconcile_schedule s
         SET lease_id = $2, leased_until = now() + make_interval(secs => $3)
         FROM (SELECT node_id FROM reconcile_schedule
               WHERE node_id = ANY($1) AND due_at <= now()
                 AND (leased_until IS NULL OR leased_until <= now())
               ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) AS due
         WHERE s.node_id = due.node_id
         RETURNING s.node_id, forced",
        &among,
        lease,
        lease_for.as_secs_f64(),
        limit as i64,
    )
    .fetch_all(connection)
    .await?;
    let due = rows.into_iter().map(|row| Due {
        node_id: NodeId::from_uuid(row.node_id),
        forced: row.forced,
    });
    Ok(due.collect())
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing was done about what was found.
    HeldBack,
    Failed,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::HeldBack => "held_back",
            Self::Failed => "failed",
        }
    }

    fn of(name: &str) -> sqlx::Result<Self> {
        let all = [Self::Done, Self::HeldBack, Self::Failed];
        let found = all.into_iter().find(|outcome| outcome.name() == name);
        found.ok_or_else(|| corrupt("reconcile_schedule.outcome", name))
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub outcome: Outcome,
    /// For people: why it was held back, or has failed.
    pub detail: String,
    pub findings: Findings,
}

/// Writes down how a run ended and gives the row back until the next. `false` when the lease was lost:
/// the run's transaction has to be rolled back.
pub async fn finish(
    connection: &mut PgConnection,
    node: NodeId,
    lease: Uuid,
    ended: &Ended,
    next_in: Duration,
) -> sqlx::Result<bool> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let found = &ended.findings;
    let written = sqlx::query!(
        "UPDATE reconcile_schedule
         SET due_at = now() + make_interval(secs => $3), lease_id = NULL, leased_until = NULL,
             forced = false, ended_at = now(), outcome = $4, detail = $5, held = $6, named = $7,
             unknown = $8, missing = $9, unreadable = $10
         WHERE node_id = $1 AND lease_id = $2",
        node.as_uuid(),
        lease,
        next_in.as_secs_f64(),
        ended.outcome.name(),
        ended.detail,
        signed(found.held),
        signed(found.named),
        signed(found.unknown),
        signed(found.missing),
        signed(found.foreign),
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() > 0)
}

/// Makes a node due. A run that is under way loses its lease and writes nothing. `false`: the node has
/// not been online since it registered, or there is no such node.
pub async fn make_due(
    connection: &mut PgConnection,
    node: NodeId,
    forced: bool,
) -> sqlx::Result<bool> {
    let made = sqlx::query!(
        "UPDATE reconcile_schedule
         SET due_at = now(), forced = $2, lease_id = NULL, leased_until = NULL
         WHERE node_id = $1",
        node.as_uuid(),
        forced,
    )
    .execute(connection)
    .await?;
    Ok(made.rows_affected() > 0)
}

/// A node's row, for people.
#[derive(Debug, Clone)]
pub struct Status {
    pub node_id: NodeId,
    pub name: String,
    pub due_at: Timestamp,
    pub is_running: bool,
    /// With its time; `None` before the first run.
    pub last: Option<(Timestamp, Ended)>,
}

/// Every node that is compared, those that were held back first.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<Status>> {
    let rows = sqlx::query!(
        r#"SELECT s.node_id, n.name, due_at AS "due_at: jiff_sqlx::Timestamp",
                  coalesce(leased_until > now(), false) AS "is_running!",
                  ended_at AS "ended_at: jiff_sqlx::Timestamp", outcome, detail, held, named,
                  unknown, missing, unreadable
           FROM reconcile_schedule s JOIN nodes n USING (node_id)
           ORDER BY outcome IS DISTINCT FROM 'held_back', n.name, s.node_id"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let last = match (row.ended_at, row.outcome) {
                (Some(at), Some(outcome)) => Some((
                    at.to_jiff(),
                    Ended {
                        outcome: Outcome::of(&outcome)?,
                        detail: row.detail,
                        findings: Findings {
                            held: row.held.unsigned_abs(),
                            named: row.named.unsigned_abs(),
                            unknown: row.unknown.unsigned_abs(),
                            missing: row.missing.unsigned_abs(),
                            foreign: row.unreadable.unsigned_abs(),
                            cut_short: false,
                        },
                    },
                )),
                _ => None,
            };
            Ok(Status {
                node_id: NodeId::from_uuid(row.node_id),
                name: row.name,
                due_at: row.due_at.to_jiff(),
                is_running: row.is_running,
                last,
            })
        })
        .collect()
}
