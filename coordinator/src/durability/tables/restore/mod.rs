//! `adoptions`: whether the database was restored and its replicas are being rebuilt from the nodes, and
//! how that comes to its end. Times are the database's.

pub mod nodes;

use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::hash32;
use crate::durability::tables::repair;
use crate::fleet::tables::awaiting_restore::NOT_FOUND;
use sealing::ChunkRef;

/// A restore that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreMode {
    pub id: Uuid,
    pub began_at: Timestamp,
    /// What coordinators had begun before they noticed may still go on.
    pub is_settling: bool,
    pub is_finishing: bool,
}

pub async fn standing(connection: &mut PgConnection) -> sqlx::Result<Option<RestoreMode>> {
    let row = sqlx::query!(
        r#"SELECT adoption_id, began_at AS "began_at: jiff_sqlx::Timestamp",
                  scans_from > now() AS "is_settling!",
                  finishing_since IS NOT NULL AS "is_finishing!"
           FROM adoptions WHERE ended_at IS NULL"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| RestoreMode {
        id: row.adoption_id,
        began_at: row.began_at.to_jiff(),
        is_settling: row.is_settling,
        is_finishing: row.is_finishing,
    }))
}

/// Begins one that goes through nodes after `settles`; `false` when one stands already.
pub async fn begin(
    connection: &mut PgConnection,
    id: Uuid,
    settles: Duration,
) -> sqlx::Result<bool> {
    let begun = sqlx::query!(
        "INSERT INTO adoptions (adoption_id, scans_from) VALUES ($1, now() + make_interval(secs => $2))
         ON CONFLICT DO NOTHING",
        id,
        settles.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(begun.rows_affected() > 0)
}

/// Locks the one that stands until the transaction ends: one step of its end at a time.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<Option<RestoreMode>> {
    let row = sqlx::query!(
        r#"SELECT adoption_id, began_at AS "began_at: jiff_sqlx::Timestamp",
                  scans_from > now() AS "is_settling!",
                  finishing_since IS NOT NULL AS "is_finishing!"
           FROM adoptions WHERE ended_at IS NULL FOR UPDATE"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| RestoreMode {
        id: row.adoption_id,
        began_at: row.began_at.to_jiff(),
        is_settling: row.is_settling,
        is_finishing: row.is_finishing,
    }))
}

/// From now on what was found is settled, and nothing is added to it: whoever goes through a node has lost
/// its lease. Nodes that have not been gone through count as away at once, as if their grace were over, and
/// are kept out from now on.
pub async fn begin_finishing(
    connection: &mut PgConnection,
    restore_mode: Uuid,
) -> sqlx::Result<()> {
    // In one order, as those who report do.
    sqlx::query!("SELECT node_id FROM nodes ORDER BY node_id FOR NO KEY UPDATE")
        .fetch_all(&mut *connection)
        .await?;
    sqlx::query!(
        "UPDATE nodes n SET offline_since = coalesce(offline_since, now()),
                            away_since = coalesce(away_since, now()),
                            awaits_adoption_since = coalesce(awaits_adoption_since, now())
         WHERE state NOT IN ('drained', 'disqualified')
           AND NOT EXISTS (SELECT FROM adoption_nodes a
                           WHERE a.adoption_id = $1 AND a.node_id = n.node_id
                             AND a.adopted_at IS NOT NULL)",
        restore_mode,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE adoption_nodes SET lease_id = NULL, leased_until = NULL, due_at = 'infinity'
         WHERE adoption_id = $1 AND adopted_at IS NULL",
        restore_mode,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE adoptions SET finishing_since = now() WHERE adoption_id = $1",
        restore_mode,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Everything goes on. Whatever chunks need now is looked for at all nodes at once.
pub async fn end(connection: &mut PgConnection, restore_mode: Uuid) -> sqlx::Result<()> {
    let nodes = sqlx::query_scalar!(
        "SELECT node_id FROM nodes WHERE state NOT IN ('drained', 'disqualified')"
    )
    .fetch_all(&mut *connection)
    .await?;
    let nodes: Vec<NodeId> = nodes.into_iter().map(NodeId::from_uuid).collect();
    repair::schedule_scans(connection, &nodes).await?;
    sqlx::query!(
        "UPDATE adoptions SET ended_at = now() WHERE adoption_id = $1",
        restore_mode,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A replica whose chunk is to be settled; the chunk is `None` when it is gone.
#[derive(Debug, Clone, Copy)]
pub struct Finding {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    pub chunk: Option<ChunkRef>,
}

/// The next findings, in order of node and blob.
pub async fn findings(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT f.node_id, f.blob_id, r.file_id AS "file_id?", r.chunk_index AS "chunk_index?"
           FROM adoption_findings f
           LEFT JOIN replicas r ON r.node_id = f.node_id AND r.blob_id = f.blob_id
           WHERE f.adoption_id = $1 ORDER BY f.node_id, f.blob_id LIMIT $2"#,
        restore_mode,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let place = row.file_id.zip(row.chunk_index);
            Ok(Finding {
                node_id: NodeId::from_uuid(row.node_id),
                blob_id: BlobId::from_bytes(hash32("adoption_findings.blob_id", &row.blob_id)?),
                chunk: place.map(|(file, index)| ChunkRef {
                    file_id: FileId::from_uuid(file),
                    index: index.unsigned_abs(),
                }),
            })
        })
        .collect()
}

/// Those replicas of these chunks whose nodes do not hold them.
pub async fn missing_of(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<(NodeId, BlobId)>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        "SELECT r.node_id, r.blob_id
         FROM replicas r
         JOIN adoption_findings f ON f.adoption_id = $1 AND f.node_id = r.node_id AND f.blob_id = r.blob_id
         WHERE f.finding = 'missing'
           AND (r.file_id, r.chunk_index) IN (SELECT * FROM unnest($2::uuid[], $3::int[]))",
        restore_mode,
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let blob = BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?);
            Ok((NodeId::from_uuid(row.node_id), blob))
        })
        .collect()
}

/// These findings are settled.
pub async fn forget_findings(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    replicas: &[(NodeId, BlobId)],
) -> sqlx::Result<()> {
    let (nodes, blobs) = blob_columns(replicas);
    sqlx::query!(
        "DELETE FROM adoption_findings
         WHERE adoption_id = $1
           AND (node_id, blob_id) IN (SELECT * FROM unnest($2::uuid[], $3::bytea[]))",
        restore_mode,
        &nodes,
        &blobs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes rows away whose blobs are not there: the nodes have nothing to be told.
pub async fn drop_rows(
    connection: &mut PgConnection,
    replicas: &[(NodeId, BlobId)],
) -> sqlx::Result<()> {
    let (nodes, blobs) = blob_columns(replicas);
    sqlx::query!(
        "DELETE FROM replicas
         WHERE (node_id, blob_id) IN (SELECT * FROM unnest($1::uuid[], $2::bytea[]))",
        &nodes,
        &blobs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Demotes the last rows of chunks, for [`NOT_FOUND`]: they stay, in case a blob turns up after all. How
/// many chunks that are is noted.
pub async fn demote_last(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    replicas: &[(NodeId, BlobId)],
) -> sqlx::Result<()> {
    if replicas.is_empty() {
        return Ok(());
    }
    let (nodes, blobs) = blob_columns(replicas);
    sqlx::query!(
        "UPDATE replicas SET earns = false, demoted_at = now(), demoted_reason = $3
         WHERE (node_id, blob_id) IN (SELECT * FROM unnest($1::uuid[], $2::bytea[]))",
        &nodes,
        &blobs,
        NOT_FOUND,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE adoptions SET lost_chunks = lost_chunks + $2 WHERE adoption_id = $1",
        restore_mode,
        replicas.len() as i64,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest restore, for people.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    pub id: Uuid,
    pub began_at: Timestamp,
    pub is_finishing: bool,
    pub ended_at: Option<Timestamp>,
    pub lost_chunks: u64,
    /// Replicas whose chunks are still to be settled.
    pub findings: u64,
}

pub async fn last(connection: &mut PgConnection) -> sqlx::Result<Option<Status>> {
    let row = sqlx::query!(
        r#"SELECT adoption_id, began_at AS "began_at: jiff_sqlx::Timestamp",
                  finishing_since IS NOT NULL AS "is_finishing!",
                  ended_at AS "ended_at: jiff_sqlx::Timestamp", lost_chunks,
                  (SELECT count(*) FROM adoption_findings f
                   WHERE f.adoption_id = a.adoption_id) AS "findings!"
           FROM adoptions a ORDER BY ended_at IS NULL DESC, adoption_id DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Status {
        id: row.adoption_id,
        began_at: row.began_at.to_jiff(),
        is_finishing: row.is_finishing,
        ended_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
        lost_chunks: row.lost_chunks.unsigned_abs(),
        findings: row.findings.unsigned_abs(),
    }))
}

fn columns(chunks: &[ChunkRef]) -> (Vec<Uuid>, Vec<i32>) {
    let columns = chunks
        .iter()
        .map(|chunk| (chunk.file_id.as_uuid(), chunk.index as i32));
    columns.unzip()
}

fn blob_columns(replicas: &[(NodeId, BlobId)]) -> (Vec<Uuid>, Vec<Vec<u8>>) {
    let columns = replicas
        .iter()
        .map(|(node, blob)| (node.as_uuid(), blob.as_bytes().to_vec()));
    columns.unzip()
}
