//! `purges`: the outbox of what nodes still have to be told.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, DeletionMode, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};

/// Enqueues the removal for good of these blobs, not to be sent before `delay` has passed: a store
/// of unknown outcome may still be on its way to the node. A blob that a row names is passed over,
/// so that a transaction of unknown outcome can be repeated.
pub async fn enqueue(
    connection: &mut PgConnection,
    blobs: &[(NodeId, BlobId)],
    delay: Duration,
) -> sqlx::Result<()> {
    if blobs.is_empty() {
        return Ok(());
    }
    let nodes: Vec<Uuid> = blobs.iter().map(|(node, _)| node.as_uuid()).collect();
    let ids: Vec<Vec<u8>> = blobs
        .iter()
        .map(|(_, blob)| blob.as_bytes().to_vec())
        .collect();
    sqlx::query!(
        "INSERT INTO purges (node_id, blob_id, mode, not_before)
         SELECT node_id, blob_id, 'purge', now() + make_interval(secs => $3)
         FROM unnest($1::uuid[], $2::bytea[]) AS b (node_id, blob_id)
         WHERE NOT EXISTS (SELECT 1 FROM replicas r
                           WHERE r.node_id = b.node_id AND r.blob_id = b.blob_id)
         ON CONFLICT (node_id, blob_id) DO UPDATE SET mode = 'purge'",
        &nodes,
        &ids,
        delay.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of a node's blobs that no row names and that it is not to be told to forget already.
pub async fn not_on_their_way_out(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
) -> sqlx::Result<Vec<BlobId>> {
    let rows = sqlx::query_scalar!(
        r#"SELECT blob_id AS "blob_id!" FROM unnest($2::bytea[]) AS b (blob_id)
           WHERE NOT EXISTS (SELECT 1 FROM replicas r
                             WHERE r.node_id = $1 AND r.blob_id = b.blob_id)
             AND NOT EXISTS (SELECT 1 FROM purges p
                             WHERE p.node_id = $1 AND p.blob_id = b.blob_id)"#,
        node.as_uuid(),
        &bytes(blobs),
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|blob| Ok(BlobId::from_bytes(hash32("purges.blob_id", blob)?)))
        .collect()
}

/// Enqueues that a node puts these blobs into its trash. One that a row names is passed over, and so
/// is one that it is to purge.
pub async fn throw_away(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
) -> sqlx::Result<()> {
    if blobs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO purges (node_id, blob_id, mode)
         SELECT $1, blob_id, 'trash' FROM unnest($2::bytea[]) AS b (blob_id)
         WHERE NOT EXISTS (SELECT 1 FROM replicas r
                           WHERE r.node_id = $1 AND r.blob_id = b.blob_id)
         ON CONFLICT (node_id, blob_id) DO NOTHING",
        node.as_uuid(),
        &bytes(blobs),
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    pub blob_id: BlobId,
    pub mode: DeletionMode,
}

/// Takes a batch that is due for one node and puts it out of reach for `lease`, so that several
/// coordinators share the work and a crash only delays it. A blob that a row names again is not to be
/// forgotten any more.
pub async fn take_due(
    connection: &mut PgConnection,
    node: NodeId,
    limit: i64,
    lease: Duration,
) -> sqlx::Result<Vec<Purge>> {
    let rows = sqlx::query!(
        "WITH batch AS (
             SELECT node_id, blob_id,
                    EXISTS (SELECT 1 FROM replicas r
                            WHERE r.node_id = p.node_id AND r.blob_id = p.blob_id) AS named
             FROM purges p WHERE node_id = $1 AND not_before <= now()
             ORDER BY not_before LIMIT $2 FOR UPDATE SKIP LOCKED),
         kept AS (
             DELETE FROM purges WHERE (node_id, blob_id) IN
                 (SELECT node_id, blob_id FROM batch WHERE named))
         UPDATE purges SET attempts = attempts + 1,
                not_before = now() + make_interval(secs => $3 * power(2, least(attempts, 6)))
         WHERE (node_id, blob_id) IN (SELECT node_id, blob_id FROM batch WHERE NOT named)
         RETURNING blob_id, mode",
        node.as_uuid(),
        limit,
        lease.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Purge {
                blob_id: BlobId::from_bytes(hash32("purges.blob_id", &row.blob_id)?),
                mode: match row.mode.as_str() {
                    "purge" => DeletionMode::Purge,
                    "trash" => DeletionMode::Trash,
                    other => return Err(corrupt("purges.mode", other)),
                },
            })
        })
        .collect()
}

/// Which of these nodes have something due.
pub async fn nodes_with_due(
    connection: &mut PgConnection,
    among: &[NodeId],
) -> sqlx::Result<Vec<NodeId>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let ids = sqlx::query_scalar!(
        r#"SELECT node_id AS "node_id!" FROM unnest($1::uuid[]) AS n (node_id)
           WHERE EXISTS (SELECT 1 FROM purges p WHERE p.node_id = n.node_id AND p.not_before <= now())
             AND NOT EXISTS (SELECT 1 FROM nodes
                             WHERE nodes.node_id = n.node_id AND awaits_adoption_since IS NOT NULL)"#,
        &among
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(NodeId::from_uuid).collect())
}

/// Takes back what nodes, or one, were to be told to remove since then. How many blobs that are.
pub async fn take_back(
    connection: &mut PgConnection,
    since: Timestamp,
    node: Option<NodeId>,
) -> sqlx::Result<u64> {
    let taken = sqlx::query!(
        "DELETE FROM purges WHERE created_at >= $1 AND ($2::uuid IS NULL OR node_id = $2)",
        since.to_sqlx() as _,
        node.map(|node| node.as_uuid()),
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected())
}

/// The node has acknowledged these.
pub async fn acknowledge(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM purges WHERE node_id = $1 AND blob_id = ANY($2)",
        node.as_uuid(),
        &bytes(blobs),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn bytes(blobs: &[BlobId]) -> Vec<Vec<u8>> {
    blobs.iter().map(|blob| blob.as_bytes().to_vec()).collect()
}

/// How many are due. Counted up to a bound: a user may have deleted a great deal.
pub async fn count_due(connection: &mut PgConnection) -> sqlx::Result<u64> {
    const MOST: i64 = 100_000;
    let due = sqlx::query_scalar!(
        r#"SELECT count(*) AS "due!" FROM (SELECT 1 FROM purges WHERE not_before <= now() LIMIT $1) AS due"#,
        MOST
    );
    Ok(due.fetch_one(connection).await?.unsigned_abs())
}
