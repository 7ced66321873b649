//! `audit_schedule`: what is asked of which node in its rounds, and when.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::hash32;
use crate::fleet::tables::awaiting_restore;
use crate::proofs::tables::audit_results;
use crate::proofs::tables::follow_ups::{Ask, FollowUp};
use rules::audit::{Cell, MAX_BLOBS_PER_CELL, RoundPlan};
use rules::reputation::Tally;

/// With what reason a replica is demoted that its node reports.
pub const REPORTED_LOST: &str = "its node reported it lost";

/// A node's row, as the coordinator that leases it sees it.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub node_id: NodeId,
    pub round: u64,
    pub replica_count: u64,
    pub plan: RoundPlan,
    pub next_message: u32,
    /// When the round was planned.
    pub planned_at: Timestamp,
    pub window_ends_at: Timestamp,
    pub due_at: Timestamp,
    pub follow_up_at: Option<Timestamp>,
    pub tally: Tally,
    /// `None` once the row has been given back.
    pub lease_id: Option<Uuid>,
}

struct Row {
    node_id: Uuid,
    round: i64,
    replica_count: i64,
    seed: Vec<u8>,
    drawn_cells: i32,
    stride: i32,
    turn_cells: i32,
    turn_from: i64,
    turn_to: i64,
    next_message: i32,
    planned_at: jiff_sqlx::Timestamp,
    window_ends_at: jiff_sqlx::Timestamp,
    due_at: jiff_sqlx::Timestamp,
    follow_up_at: Option<jiff_sqlx::Timestamp>,
    round_passed: i64,
    round_failed: i64,
    round_missed: i64,
    round_reported: i64,
    lease_id: Option<Uuid>,
}

impl TryFrom<Row> for Schedule {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            node_id: NodeId::from_uuid(row.node_id),
            round: row.round.unsigned_abs(),
            replica_count: row.replica_count.unsigned_abs(),
            plan: RoundPlan {
                seed: hash32("audit_schedule.seed", &row.seed)?,
                drawn: row.drawn_cells.unsigned_abs(),
                stride: row.stride.unsigned_abs(),
                turns: row.turn_cells.unsigned_abs(),
                turn_from: row.turn_from as u64,
                turn_to: row.turn_to as u64,
            },
            next_message: row.next_message.unsigned_abs(),
            planned_at: row.planned_at.to_jiff(),
            window_ends_at: row.window_ends_at.to_jiff(),
            due_at: row.due_at.to_jiff(),
            follow_up_at: row.follow_up_at.map(jiff_sqlx::Timestamp::to_jiff),
            tally: Tally {
                passed: row.round_passed.unsigned_abs(),
                failed: row.round_failed.unsigned_abs(),
                missed: row.round_missed.unsigned_abs(),
                reported: row.round_reported.unsigned_abs(),
            },
            lease_id: row.lease_id,
        })
    }
}

/// How far behind the audit is, of nodes that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub oldest_round_seconds: i64,
    pub overdue_seconds: i64,
}

pub async fn pace(connection: &mut PgConnection) -> sqlx::Result<Pace> {
    let row = sqlx::query!(
        r#"SELECT coalesce(greatest(extract(epoch FROM now() - min(a.planned_at)), 0), 0)::bigint AS "age!",
                  coalesce(greatest(extract(epoch FROM now() - min(a.next_due)), 0), 0)::bigint AS "overdue!"
           FROM audit_schedule a JOIN nodes n USING (node_id)
           WHERE n.offline_since IS NULL AND n.last_seen_at IS NOT NULL"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Pace {
        oldest_round_seconds: row.age,
        overdue_seconds: row.overdue,
    })
}

/// A coordinator's claim on a row.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub id: Uuid,
    pub until: Timestamp,
}

/// From now on this node is audited.
pub async fn enter(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_schedule (node_id, planned_at, window_ends_at, due_at) VALUES ($1, $2, $2, $2)
         ON CONFLICT (node_id) DO NOTHING",
        node.as_uuid(),
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// This node is audited no longer.
pub async fn leave(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM audit_schedule WHERE node_id = $1",
        node.as_uuid()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM audit_follow_ups WHERE node_id = $1",
        node.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Leases rows of these nodes for which something is due, the longest overdue first. Those that
/// another coordinator holds are passed over.
pub async fn take_due(
    connection: &mut PgConnection,
    among: &[NodeId],
    now: Timestamp,
    lease: Lease,
    limit: i64,
) -> sqlx::Result<Vec<Schedule>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"UPDATE audit_schedule s SET lease_id = $3, leased_until = $4
           FROM (SELECT node_id FROM audit_schedule
                 WHERE node_id = ANY($1) AND next_due <= $2
                   AND (leased_until IS NULL OR leased_until <= $2)
                 ORDER BY next_due LIMIT $5 FOR UPDATE SKIP LOCKED) AS due
           WHERE s.node_id = due.node_id
           RETURNING s.node_id, round, replica_count, seed, drawn_cells, stride, turn_cells,
                     turn_from, turn_to, next_message, planned_at AS "planned_at: _",
                     window_ends_at AS "window_ends_at: _",
                     due_at AS "due_at: _", follow_up_at AS "follow_up_at: _", round_passed,
                     round_failed, round_missed, round_reported, lease_id"#,
        &among,
        now.to_sqlx() as _,
        lease.id,
        lease.until.to_sqlx() as _,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Schedule::try_from).collect()
}

/// Keeps a row for longer than other work needs; `false` when the lease was lost.
pub async fn extend(
    connection: &mut PgConnection,
    node: NodeId,
    lease: Uuid,
    until: Timestamp,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE audit_schedule SET leased_until = $3 WHERE node_id = $1 AND lease_id = $2",
        node.as_uuid(),
        lease,
        until.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives a row back without having done anything; nobody takes it before `not_before`.
pub async fn release(
    connection: &mut PgConnection,
    node: NodeId,
    lease: Uuid,
    not_before: Option<Timestamp>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE audit_schedule SET lease_id = NULL, leased_until = $3
         WHERE node_id = $1 AND lease_id = $2",
        node.as_uuid(),
        lease,
        not_before.map(ToSqlx::to_sqlx) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many replicas the node had when its round was planned.
pub async fn estimated_replicas(
    connection: &mut PgConnection,
    node: NodeId,
) -> sqlx::Result<Option<u64>> {
    let count = sqlx::query_scalar!(
        "SELECT replica_count FROM audit_schedule WHERE node_id = $1",
        node.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(count.map(i64::unsigned_abs))
}

/// How many replicas lie in a range of ids: an index range read.
pub async fn count_replicas(
    connection: &mut PgConnection,
    node: NodeId,
    ids: &std::ops::RangeInclusive<u64>,
) -> sqlx::Result<u64> {
    let (first, last) = bounds(ids);
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM replicas
           WHERE node_id = $1 AND blob_id >= $2 AND blob_id <= $3"#,
        node.as_uuid(),
        &first[..],
        &last[..],
    )
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

/// The first and the last blob id of a range that is given by their first eight bytes.
pub(crate) fn bounds(ids: &std::ops::RangeInclusive<u64>) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    first[..8].copy_from_slice(&ids.start().to_be_bytes());
    last[..8].copy_from_slice(&ids.end().to_be_bytes());
    (first, last)
}

/// A replica that may be asked for.
#[derive(Debug, Clone)]
pub struct AuditedReplica {
    pub blob_id: BlobId,
    /// Of the plaintext that it holds.
    pub size_bytes: u32,
    /// What became of it.
    pub lost: Option<Lost>,
    /// What it is asked for out of turn.
    pub follow_up: Option<FollowUp>,
}

/// A replica that counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub at: Timestamp,
    /// Its node has said so.
    pub reported: bool,
}

/// Replicas in a cell. Left out: those that were demoted before `demoted_since`, those of which a restored
/// database only thought that they are there, and those that a coordinator had deleted.
pub async fn cell(
    connection: &mut PgConnection,
    node: NodeId,
    cell: &Cell,
    demoted_since: Timestamp,
) -> sqlx::Result<Vec<AuditedReplica>> {
    let (first, last) = bounds(&cell.ids);
    let rows = sqlx::query!(
        r#"SELECT r.blob_id, piece_bytes(c.size_bytes, files.data_pieces) AS "size_bytes!", r.demoted_at AS "demoted_at: jiff_sqlx::Timestamp",
                  r.demoted_reason, f.ask AS "ask?", f.due_at AS "due_at?: jiff_sqlx::Timestamp",
                  f.attempts AS "attempts?", f.drawn AS "drawn?", f.weight_ppm AS "weight_ppm?",
                  f.penalty_id, f.reason AS "reason?"
           FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN files USING (file_id)
           LEFT JOIN audit_follow_ups f ON f.node_id = r.node_id AND f.blob_id = r.blob_id
           WHERE r.node_id = $1 AND r.blob_id >= $2 AND r.blob_id <= $3
             AND (r.demoted_at IS NULL OR (r.demoted_at >= $4 AND r.demoted_reason <> ALL($6)))
           ORDER BY r.blob_id LIMIT $5"#,
        node.as_uuid(),
        &first[..],
        &last[..],
        demoted_since.to_sqlx() as _,
        MAX_BLOBS_PER_CELL as i64,
        &[awaiting_restore::NOT_FOUND, audit_results::ORDERED].map(str::to_owned)[..],
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let blob_id = BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?);
            let lost = row.demoted_at.map(|at| Lost {
                at: at.to_jiff(),
                reported: row.demoted_reason.as_deref() == Some(REPORTED_LOST),
            });
            let follow_up = match (row.ask, row.due_at) {
                (Some(ask), Some(due_at)) => Some(FollowUp {
                    blob_id,
                    ask: Ask::from_name(&ask)?,
                    due_at: due_at.to_jiff(),
                    attempts: row.attempts.unwrap_or(0).unsigned_abs(),
                    drawn: row.drawn.unwrap_or(false),
                    weight_ppm: row.weight_ppm.unwrap_or(0).unsigned_abs(),
                    penalty_id: row.penalty_id,
                    reason: row.reason.unwrap_or_default(),
                }),
                _ => None,
            };
            Ok(AuditedReplica {
                blob_id,
                size_bytes: row.size_bytes.unsigned_abs(),
                lost,
                follow_up,
            })
        })
        .collect()
}

/// A node's next round.
#[derive(Debug, Clone, Copy)]
pub struct NewRound<'a> {
    pub plan: &'a RoundPlan,
    pub replica_count: u64,
    pub due_at: Timestamp,
    pub window_ends_at: Timestamp,
}

/// Begins a round. `None` when the lease was lost: nothing is written then.
pub async fn begin_round(
    connection: &mut PgConnection,
    node: NodeId,
    round: &NewRound<'_>,
    now: Timestamp,
    lease: Lease,
) -> sqlx::Result<Option<Schedule>> {
    let plan = round.plan;
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE audit_schedule
           SET round = round + 1, replica_count = $3, seed = $4, drawn_cells = $5, stride = $6,
               turn_cells = $7, turn_from = $8, turn_to = $9, next_message = 0,
               planned_at = $12, window_ends_at = $10, due_at = $11,
               lease_id = CASE WHEN least($11, follow_up_at) <= $12 THEN lease_id END,
               leased_until = CASE WHEN least($11, follow_up_at) <= $12 THEN $13::timestamptz END
           WHERE node_id = $1 AND lease_id = $2
           RETURNING node_id, round, replica_count, seed, drawn_cells, stride, turn_cells,
                     turn_from, turn_to, next_message, planned_at AS "planned_at: _",
                     window_ends_at AS "window_ends_at: _",
                     due_at AS "due_at: _", follow_up_at AS "follow_up_at: _", round_passed,
                     round_failed, round_missed, round_reported, lease_id"#,
        node.as_uuid(),
        lease.id,
        i64::try_from(round.replica_count).unwrap_or(i64::MAX),
        &plan.seed[..],
        i32::try_from(plan.drawn).unwrap_or(i32::MAX),
        i32::try_from(plan.stride).unwrap_or(i32::MAX),
        i32::try_from(plan.turns).unwrap_or(i32::MAX),
        plan.turn_from as i64,
        plan.turn_to as i64,
        round.window_ends_at.to_sqlx() as _,
        round.due_at.to_sqlx() as _,
        now.to_sqlx() as _,
        lease.until.to_sqlx() as _,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Schedule::try_from).transpose()
}

/// What one piece of work adds to a node's row.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub next_message: u32,
    pub due_at: Timestamp,
    /// What the tally becomes: this round's, or nothing once it is in the score.
    pub tally: Tally,
    pub challenges: u64,
    pub forgiven: u64,
}

/// Writes progress, and keeps the lease as long as something is due. `None` when the lease was lost:
/// whoever has it now does the same work, and this transaction has to be rolled back.
pub async fn advance(
    connection: &mut PgConnection,
    node: NodeId,
    progress: &Progress,
    now: Timestamp,
    lease: Lease,
) -> sqlx::Result<Option<Schedule>> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    // Whoever adds a follow-up holds the row: it is seen only by a statement that begins later.
    sqlx::query!(
        "SELECT FROM audit_schedule WHERE node_id = $1 AND lease_id = $2 FOR UPDATE",
        node.as_uuid(),
        lease.id,
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE audit_schedule s
           SET next_message = $3, due_at = $4, follow_up_at = f.due_at,
               round_passed = $5, round_failed = $6, round_missed = $11, round_reported = $12,
               day = ($9::timestamptz AT TIME ZONE 'UTC')::date,
               day_challenges = $7 + CASE WHEN day = ($9::timestamptz AT TIME ZONE 'UTC')::date
                                          THEN day_challenges ELSE 0 END,
               day_forgiven = $8 + CASE WHEN day = ($9::timestamptz AT TIME ZONE 'UTC')::date
                                        THEN day_forgiven ELSE 0 END,
               lease_id = CASE WHEN least($4, f.due_at) <= $9 THEN lease_id END,
               leased_until = CASE WHEN least($4, f.due_at) <= $9 THEN $10::timestamptz END
           FROM (SELECT min(due_at) AS due_at FROM audit_follow_ups WHERE node_id = $1) AS f
           WHERE s.node_id = $1 AND s.lease_id = $2
           RETURNING s.node_id, round, replica_count, seed, drawn_cells, stride, turn_cells,
                     turn_from, turn_to, next_message, planned_at AS "planned_at: _",
                     window_ends_at AS "window_ends_at: _",
                     s.due_at AS "due_at: _", s.follow_up_at AS "follow_up_at: _", round_passed,
                     round_failed, round_missed, round_reported, lease_id"#,
        node.as_uuid(),
        lease.id,
        i32::try_from(progress.next_message).unwrap_or(i32::MAX),
        progress.due_at.to_sqlx() as _,
        signed(progress.tally.passed),
        signed(progress.tally.failed),
        signed(progress.challenges),
        signed(progress.forgiven),
        now.to_sqlx() as _,
        lease.until.to_sqlx() as _,
        signed(progress.tally.missed),
        signed(progress.tally.reported),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Schedule::try_from).transpose()
}

/// Challenges of this day so far, and misses forgiven.
pub async fn day_counts(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<(u64, u64)> {
    let row = sqlx::query!(
        "SELECT day_challenges, day_forgiven FROM audit_schedule
         WHERE node_id = $1 AND day = ($2::timestamptz AT TIME ZONE 'UTC')::date",
        node.as_uuid(),
        now.to_sqlx() as _,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map_or((0, 0), |row| {
        (
            row.day_challenges.unsigned_abs(),
            row.day_forgiven.unsigned_abs(),
        )
    }))
}
