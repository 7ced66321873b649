//! `drains`: nodes that leave in order, what they held when they began, and how it ended.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use crate::proofs::tables::audit_schedule::bounds;
use model::node_state::NodeState;
use rules::drain::{Load, Pace, SAMPLE, Stuck};

/// One time that an operator asked.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    pub started_at: Timestamp,
    /// What the node held then.
    pub load: Load,
    /// When it ended, and the state that followed.
    pub ended: Option<(Timestamp, NodeState)>,
}

struct Row {
    started_at: jiff_sqlx::Timestamp,
    blobs: i64,
    bytes: i64,
    ended_at: Option<jiff_sqlx::Timestamp>,
    ended_as: Option<String>,
}

impl TryFrom<Row> for Drain {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let ended = match (row.ended_at, row.ended_as) {
            (Some(at), Some(state)) => {
                let state = state.parse();
                let state = state.map_err(|error| corrupt("drains.ended_as", error))?;
                Some((at.to_jiff(), state))
            }
            _ => None,
        };
        Ok(Self {
            started_at: row.started_at.to_jiff(),
            load: Load {
                blobs: row.blobs.unsigned_abs(),
                bytes: row.bytes.unsigned_abs(),
            },
            ended,
        })
    }
}

/// The node's state has just become `draining`, in this transaction.
pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    node: NodeId,
    load: Load,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO drains (drain_id, node_id, started_at, blobs, bytes)
         VALUES ($1, $2, $3, $4, $5)",
        id,
        node.as_uuid(),
        now.to_sqlx() as _,
        i64::try_from(load.blobs).unwrap_or(i64::MAX),
        i64::try_from(load.bytes).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The last time that this node's operator asked.
pub async fn last(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<Option<Drain>> {
    sqlx::query_as!(
        Row,
        r#"SELECT started_at AS "started_at: _", blobs, bytes, ended_at AS "ended_at: _", ended_as
           FROM drains WHERE node_id = $1 ORDER BY drain_id DESC LIMIT 1"#,
        node.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .map(Drain::try_from)
    .transpose()
}

/// What the last drain of any node moved, and in what time.
pub async fn last_pace(connection: &mut PgConnection) -> sqlx::Result<Option<Pace>> {
    let row = sqlx::query!(
        r#"SELECT bytes, extract(epoch FROM ended_at - started_at)::float8 AS "seconds!"
           FROM drains WHERE ended_as = 'drained' AND bytes > 0 AND ended_at IS NOT NULL
           ORDER BY ended_at DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Pace {
        bytes: row.bytes.unsigned_abs(),
        elapsed: Duration::try_from_secs_f64(row.seconds).unwrap_or_default(),
    }))
}

/// What a node holds in a range of ids (their first eight bytes). Demoted replicas are not moved.
pub async fn load(
    connection: &mut PgConnection,
    node: NodeId,
    ids: &RangeInclusive<u64>,
) -> sqlx::Result<Load> {
    let (first, last) = bounds(ids);
    let row = sqlx::query!(
        r#"SELECT count(*) AS "blobs!", coalesce(sum(piece_bytes(c.size_bytes, f.data_pieces)), 0)::bigint AS "bytes!"
           FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN files f USING (file_id)
           WHERE r.node_id = $1 AND r.blob_id >= $2 AND r.blob_id <= $3
             AND r.demoted_at IS NULL"#,
        node.as_uuid(),
        &first[..],
        &last[..],
    )
    .fetch_one(connection)
    .await?;
    Ok(Load {
        blobs: row.blobs.unsigned_abs(),
        bytes: row.bytes.unsigned_abs(),
    })
}

/// Of a sample of the node's chunks from an id on, how many need a replica elsewhere and are on all of
/// `others` already.
pub async fn stuck(
    connection: &mut PgConnection,
    node: NodeId,
    from: u64,
    others: &[NodeId],
) -> sqlx::Result<Stuck> {
    let (first, _) = bounds(&(from..=u64::MAX));
    let others: Vec<Uuid> = others.iter().map(NodeId::as_uuid).collect();
    let row = sqlx::query!(
        r#"WITH sample AS (
               SELECT file_id, chunk_index FROM replicas
               WHERE node_id = $1 AND blob_id >= $2 AND demoted_at IS NULL
               ORDER BY blob_id LIMIT $4)
           SELECT count(*) AS "of!", count(*) FILTER (WHERE
                (SELECT count(*) FROM replicas o JOIN nodes n USING (node_id)
                 WHERE o.file_id = s.file_id AND o.chunk_index = s.chunk_index
                   AND o.node_id <> $1 AND o.demoted_at IS NULL
                   AND n.state NOT IN ('draining', 'drained', 'disqualified')) < f.replication
                AND NOT EXISTS (SELECT 1 FROM unnest($3::uuid[]) AS e (node_id)
                    WHERE NOT EXISTS (SELECT 1 FROM replicas o
                        WHERE o.file_id = s.file_id AND o.chunk_index = s.chunk_index
                          AND o.node_id = e.node_id))) AS "chunks!"
           FROM sample s JOIN files f USING (file_id)"#,
        node.as_uuid(),
        &first[..],
        &others,
        i64::from(SAMPLE),
    )
    .fetch_one(connection)
    .await?;
    Ok(Stuck {
        chunks: row.chunks.unsigned_abs(),
        of: row.of.unsigned_abs(),
    })
}

/// Nodes that began before `started_before` and hold nothing any more that anybody needs, as in [`is_needed`].
pub async fn emptied(
    connection: &mut PgConnection,
    started_before: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<NodeId>> {
    let ids = sqlx::query_scalar!(
        "SELECT d.node_id FROM drains d
         WHERE d.ended_at IS NULL AND d.started_at < $1
           AND NOT EXISTS (SELECT 1 FROM nodes n
                           WHERE n.node_id = d.node_id AND n.awaits_adoption_since IS NOT NULL)
           AND NOT EXISTS (
               SELECT 1 FROM replicas r LEFT JOIN chunks_to_repair q USING (file_id, chunk_index)
               WHERE r.node_id = d.node_id AND (r.demoted_at IS NULL OR q.file_id IS NOT NULL))
         ORDER BY d.drain_id LIMIT $2",
        started_before.to_sqlx() as _,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(NodeId::from_uuid).collect())
}

/// Nodes that have drained since then and hold something again.
pub async fn refilled(
    connection: &mut PgConnection,
    drained_since: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<NodeId>> {
    let ids = sqlx::query_scalar!(
        "SELECT DISTINCT d.node_id FROM drains d JOIN nodes n USING (node_id)
         WHERE d.ended_at >= $1 AND d.ended_as = 'drained' AND n.state = 'drained'
           AND EXISTS (SELECT 1 FROM replicas r
                       WHERE r.node_id = d.node_id AND r.demoted_at IS NULL)
         LIMIT $2",
        drained_since.to_sqlx() as _,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(NodeId::from_uuid).collect())
}

/// Whether a node holds a replica that counts, or a demoted one of a chunk that has yet to be mended: that
/// may be the last that is left of it. Other demoted ones keep no node from leaving. Of a node that awaits its
/// restore nobody knows what it holds.
pub async fn is_needed(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM replicas r LEFT JOIN chunks_to_repair q USING (file_id, chunk_index)
               WHERE r.node_id = $1 AND (r.demoted_at IS NULL OR q.file_id IS NOT NULL))
             OR EXISTS (SELECT 1 FROM nodes WHERE node_id = $1 AND awaits_adoption_since IS NOT NULL)
             AS "needed!""#,
        node.as_uuid()
    )
    .fetch_one(connection)
    .await
}

/// What a node has earned in all its settled days, and has been paid out or is about to be.
pub async fn lifetime_pay(
    connection: &mut PgConnection,
    node: NodeId,
) -> sqlx::Result<(MicroCredits, MicroCredits)> {
    let row = sqlx::query!(
        r#"SELECT (SELECT coalesce(sum(held + available), 0)::bigint FROM node_days
                   WHERE node_id = $1 AND settled_at IS NOT NULL) AS "earned!",
                  (SELECT coalesce(sum(amount_microcredits), 0)::bigint FROM payouts
                   WHERE node_id = $1 AND state <> 'refused') AS "paid_out!""#,
        node.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok((
        MicroCredits::new(row.earned),
        MicroCredits::new(row.paid_out),
    ))
}
