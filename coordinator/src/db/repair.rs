//! `repair_scans` and `chunks_to_repair`: whose replicas are to be gone through, and which chunks need
//! something.
//!
//! Locks are taken in this order: files and chunks in order of chunk, replicas in order of node and blob,
//! rows of the queue.

use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{corrupt, hash32};
use crate::domain::placement::FailureDomains;
use crate::domain::repair::{Presence, Replica};
use crate::domain::sealing::ChunkRef;

/// Goes through these nodes' replicas from the beginning, as soon as can be.
pub async fn schedule_scans(connection: &mut PgConnection, nodes: &[NodeId]) -> sqlx::Result<()> {
    let mut nodes: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    if nodes.is_empty() {
        return Ok(());
    }
    nodes.sort_unstable();
    nodes.dedup();
    sqlx::query!(
        "INSERT INTO repair_scans (node_id) SELECT unnest($1::uuid[])
         ON CONFLICT (node_id) DO UPDATE SET scanned_upto = '', due_at = now()",
        &nodes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A node whose replicas are to be gone through.
#[derive(Debug, Clone)]
pub struct Scan {
    pub node_id: NodeId,
    scanned_upto: Vec<u8>,
    /// What it holds is to be replaced or does not count: it is gone through again before long.
    pub in_trouble: bool,
}

/// Locks the row of a scan that is due; those that others work on are passed over.
pub async fn lock_scan(connection: &mut PgConnection) -> sqlx::Result<Option<Scan>> {
    let row = sqlx::query!(
        r#"SELECT s.node_id, s.scanned_upto,
                  n.offline_since IS NOT NULL OR n.state = 'draining' AS "in_trouble!"
           FROM repair_scans s JOIN nodes n USING (node_id)
           WHERE s.due_at <= now() ORDER BY s.due_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Scan {
        node_id: NodeId::from_uuid(row.node_id),
        scanned_upto: row.scanned_upto,
        in_trouble: row.in_trouble,
    }))
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedPage {
    /// Of which the replicas are; locked against removal.
    pub chunks: Vec<ChunkRef>,
    /// Chunks that need something.
    pub found: u64,
    pub is_last: bool,
}

/// Goes through the next replicas of a node, enters chunks that need something into the queue, and moves
/// the scan on behind them; at its end it begins anew after `pause`.
pub async fn scan_page(
    connection: &mut PgConnection,
    scan: &Scan,
    limit: i64,
    pause: Duration,
) -> sqlx::Result<ScannedPage> {
    let rows = sqlx::query!(
        "SELECT blob_id, file_id, chunk_index FROM replicas WHERE node_id = $1 AND blob_id > $2
         ORDER BY blob_id LIMIT $3",
        scan.node_id.as_uuid(),
        &scan.scanned_upto,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let chunks = rows.iter().map(|row| ChunkRef {
        file_id: FileId::from_uuid(row.file_id),
        index: row.chunk_index.unsigned_abs(),
    });
    let chunks: Vec<ChunkRef> = chunks.collect();
    let found = enqueue_needy(connection, &chunks).await?;
    let is_last = (rows.len() as i64) < limit;
    let upto = rows.last().filter(|_| !is_last).map(|row| &row.blob_id[..]);
    sqlx::query!(
        "UPDATE repair_scans SET scanned_upto = $2,
                due_at = CASE WHEN $3 THEN now() + make_interval(secs => $4) ELSE due_at END
         WHERE node_id = $1",
        scan.node_id.as_uuid(),
        upto.unwrap_or_default(),
        is_last,
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(ScannedPage {
        chunks,
        found,
        is_last,
    })
}

/// Enters those of these chunks that need something; how many. Takes their locks.
pub async fn enqueue_needy(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<u64> {
    if chunks.is_empty() {
        return Ok(0);
    }
    let (files, indices) = columns(chunks);
    // The foreign key would lock the chunks one by one, and after the rows of the queue.
    sqlx::query!(
        "SELECT FROM chunks WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ORDER BY file_id, chunk_index FOR KEY SHARE",
        &files,
        &indices,
    )
    .execute(&mut *connection)
    .await?;
    let entered = sqlx::query!(
        "INSERT INTO chunks_to_repair (file_id, chunk_index, healthy, since)
         SELECT c.file_id, c.chunk_index, h.healthy, now()
         FROM chunks c JOIN files f USING (file_id), LATERAL chunk_health(c.file_id, c.chunk_index) h
         WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
           AND f.state <> 'deleted' AND (h.missing > 0 OR h.too_many > 0)
         ORDER BY c.file_id, c.chunk_index
         ON CONFLICT (file_id, chunk_index) DO UPDATE SET healthy = EXCLUDED.healthy",
        &files,
        &indices,
    )
    .execute(connection)
    .await?;
    Ok(entered.rows_affected())
}

/// Those of these chunks whose files are stored completely.
pub async fn ready_chunks(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<KeptChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        "SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication
         FROM chunks c JOIN files f USING (file_id)
         WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
           AND f.state = 'ready'",
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    let kept = rows.into_iter().map(|row| KeptChunk {
        chunk: ChunkRef {
            file_id: FileId::from_uuid(row.file_id),
            index: row.chunk_index.unsigned_abs(),
        },
        version: row.version.unsigned_abs(),
        size_bytes: row.size_bytes.unsigned_abs(),
        replication: row.replication.unsigned_abs(),
        ready: true,
    });
    Ok(kept.collect())
}

/// Enters chunks that have all their replicas; how many were not waiting yet. The caller has locked them.
pub async fn enqueue_whole(
    connection: &mut PgConnection,
    chunks: &[KeptChunk],
) -> sqlx::Result<u64> {
    if chunks.is_empty() {
        return Ok(0);
    }
    let named: Vec<ChunkRef> = chunks.iter().map(|kept| kept.chunk).collect();
    let (files, indices) = columns(&named);
    let healthy: Vec<i32> = chunks.iter().map(|kept| kept.replication as i32).collect();
    let entered = sqlx::query!(
        "INSERT INTO chunks_to_repair (file_id, chunk_index, healthy, since)
         SELECT file_id, chunk_index, healthy, now()
         FROM unnest($1::uuid[], $2::int[], $3::int[]) AS c (file_id, chunk_index, healthy)
         ORDER BY file_id, chunk_index
         ON CONFLICT (file_id, chunk_index) DO NOTHING",
        &files,
        &indices,
        &healthy,
    )
    .execute(connection)
    .await?;
    Ok(entered.rows_affected())
}

/// A chunk that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    pub chunk: ChunkRef,
    pub healthy: u32,
    /// In vain so far.
    pub attempts: u32,
}

/// Takes the most urgent chunks, of those with `most_healthy` healthy replicas at most, and puts them out
/// of reach for `lease`.
pub async fn take(
    connection: &mut PgConnection,
    limit: i64,
    most_healthy: u32,
    lease: Duration,
) -> sqlx::Result<Vec<Queued>> {
    // Level by level, so that rows that are put off are no way to be gone.
    let rows = sqlx::query!(
        "UPDATE chunks_to_repair q SET not_before = now() + make_interval(secs => $3)
         FROM (SELECT due.* FROM generate_series(0, least($2, 32)) AS level, LATERAL
                   (SELECT file_id, chunk_index, healthy FROM chunks_to_repair
                    WHERE healthy = level AND not_before <= now()
                    ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
               ORDER BY due.healthy LIMIT $1) AS due
         WHERE q.file_id = due.file_id AND q.chunk_index = due.chunk_index
         RETURNING q.file_id, q.chunk_index, q.healthy, q.attempts",
        limit,
        i32::try_from(most_healthy).unwrap_or(i32::MAX),
        lease.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    let mut taken: Vec<Queued> = rows
        .into_iter()
        .map(|row| Queued {
            chunk: ChunkRef {
                file_id: FileId::from_uuid(row.file_id),
                index: row.chunk_index.unsigned_abs(),
            },
            healthy: row.healthy.unsigned_abs(),
            attempts: row.attempts.unsigned_abs(),
        })
        .collect();
    taken.sort_by_key(|queued| queued.healthy);
    Ok(taken)
}

/// A chunk that is there, and what its file says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptChunk {
    pub chunk: ChunkRef,
    pub version: u64,
    pub size_bytes: u32,
    pub replication: u32,
    /// Its upload is complete: its replicas earn.
    pub ready: bool,
}

/// Locks those of these chunks that are there, and their files against being deleted or completed.
pub async fn lock_chunks(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<KeptChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        r#"SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication,
                  f.state = 'ready' AS "ready!"
           FROM chunks c JOIN files f USING (file_id)
           WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
             AND f.state <> 'deleted'
           ORDER BY c.file_id, c.chunk_index FOR SHARE OF f FOR UPDATE OF c"#,
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    let kept = rows.into_iter().map(|row| KeptChunk {
        chunk: ChunkRef {
            file_id: FileId::from_uuid(row.file_id),
            index: row.chunk_index.unsigned_abs(),
        },
        version: row.version.unsigned_abs(),
        size_bytes: row.size_bytes.unsigned_abs(),
        replication: row.replication.unsigned_abs(),
        ready: row.ready,
    });
    Ok(kept.collect())
}

/// A chunk with the key of its file, as it is before it is worked on.
#[derive(Debug, Clone)]
pub struct SealedChunk {
    pub kept: KeptChunk,
    /// Of the plaintext; `None` in files that came in one request.
    pub sha256: Option<[u8; 32]>,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
}

/// Those of these chunks that are there and whose files have their keys.
pub async fn with_keys(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<SealedChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        r#"SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication,
                  f.state = 'ready' AS "ready!", c.sha256, k.master_key_id, k.wrapped
           FROM chunks c JOIN files f USING (file_id) JOIN data_keys k USING (file_id)
           WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
             AND f.state <> 'deleted'"#,
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sha256 = row.sha256.map(|sha256| hash32("chunks.sha256", &sha256));
            Ok(SealedChunk {
                kept: KeptChunk {
                    chunk: ChunkRef {
                        file_id: FileId::from_uuid(row.file_id),
                        index: row.chunk_index.unsigned_abs(),
                    },
                    version: row.version.unsigned_abs(),
                    size_bytes: row.size_bytes.unsigned_abs(),
                    replication: row.replication.unsigned_abs(),
                    ready: row.ready,
                },
                sha256: sha256.transpose()?,
                master_key_id: row.master_key_id,
                wrapped_key: row.wrapped,
            })
        })
        .collect()
}

/// Replicas of these chunks with what is known of their nodes, in order of chunk, node and blob.
pub async fn replicas(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<(ChunkRef, Replica)>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        r#"SELECT r.file_id, r.chunk_index, r.node_id, r.blob_id, r.earns,
                  r.demoted_at AS "demoted_at: jiff_sqlx::Timestamp",
                  r.suspect_since IS NOT NULL AS "suspect!", n.state, n.operator_id, n.region,
                  n.used_bytes, n.capacity_bytes, n.offline_since IS NOT NULL AS "offline!",
                  n.away_since IS NOT NULL AS "away!"
           FROM replicas r JOIN nodes n USING (node_id)
           WHERE (r.file_id, r.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
           ORDER BY r.file_id, r.chunk_index, r.node_id, r.blob_id"#,
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let chunk = ChunkRef {
                file_id: FileId::from_uuid(row.file_id),
                index: row.chunk_index.unsigned_abs(),
            };
            let replica = Replica {
                node_id: NodeId::from_uuid(row.node_id),
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
                node_state: row
                    .state
                    .parse()
                    .map_err(|error| corrupt("nodes.state", error))?,
                presence: match (row.offline, row.away) {
                    (false, _) => Presence::Online,
                    (true, false) => Presence::Offline,
                    (true, true) => Presence::Away,
                },
                demoted_at: row.demoted_at.map(jiff_sqlx::Timestamp::to_jiff),
                earns: row.earns,
                suspect: row.suspect,
                used_bytes: row.used_bytes.unsigned_abs(),
                capacity_bytes: row.capacity_bytes.unsigned_abs(),
                domains: FailureDomains {
                    operator: row.operator_id,
                    prefix: None, // only whoever is connected to the node knows
                    region: row.region,
                },
            };
            Ok((chunk, replica))
        })
        .collect()
}

/// Locks replicas in order, as the audit does.
pub async fn lock_replicas(
    connection: &mut PgConnection,
    replicas: &[(NodeId, BlobId)],
) -> sqlx::Result<()> {
    let (nodes, blobs) = blob_columns(replicas);
    sqlx::query!(
        "SELECT FROM replicas WHERE (node_id, blob_id) IN (SELECT * FROM unnest($1::uuid[], $2::bytea[]))
         ORDER BY node_id, blob_id FOR UPDATE",
        &nodes,
        &blobs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes replicas away that do not earn any more. Their blobs go to the trash; not so on a node that is
/// out and takes no more orders, where reconciling finds them should it ever be let in again.
pub async fn remove_replicas(
    connection: &mut PgConnection,
    replicas: &[(NodeId, BlobId)],
) -> sqlx::Result<()> {
    if replicas.is_empty() {
        return Ok(());
    }
    let (nodes, blobs) = blob_columns(replicas);
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM replicas
             WHERE (node_id, blob_id) IN (SELECT * FROM unnest($1::uuid[], $2::bytea[]))
             RETURNING node_id, blob_id)
         INSERT INTO purges (node_id, blob_id, mode)
         SELECT node_id, blob_id, 'trash' FROM gone JOIN nodes USING (node_id)
         WHERE state <> 'disqualified'
         ON CONFLICT (node_id, blob_id) DO NOTHING",
        &nodes,
        &blobs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// These chunks need nothing more.
pub async fn finish(connection: &mut PgConnection, chunks: &[ChunkRef]) -> sqlx::Result<()> {
    let (files, indices) = columns(chunks);
    sqlx::query!(
        "DELETE FROM chunks_to_repair
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))",
        &files,
        &indices,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A chunk that is to be tried again.
#[derive(Debug, Clone, Copy)]
pub struct PutOff {
    pub chunk: ChunkRef,
    pub healthy: usize,
    pub attempts: u32,
    pub pause: Duration,
}

pub async fn put_off(connection: &mut PgConnection, again: &[PutOff]) -> sqlx::Result<()> {
    if again.is_empty() {
        return Ok(());
    }
    let chunks: Vec<ChunkRef> = again.iter().map(|again| again.chunk).collect();
    let (files, indices) = columns(&chunks);
    let healthy: Vec<i32> = again.iter().map(|again| again.healthy as i32).collect();
    let attempts: Vec<i32> = again.iter().map(|again| again.attempts as i32).collect();
    let pauses: Vec<f64> = again
        .iter()
        .map(|again| again.pause.as_secs_f64())
        .collect();
    sqlx::query!(
        "UPDATE chunks_to_repair q
         SET healthy = a.healthy, attempts = a.attempts, not_before = now() + make_interval(secs => a.pause)
         FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::float8[])
              AS a (file_id, chunk_index, healthy, attempts, pause)
         WHERE q.file_id = a.file_id AND q.chunk_index = a.chunk_index",
        &files,
        &indices,
        &healthy,
        &attempts,
        &pauses,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What waits, by healthy replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub healthy: u32,
    pub chunks: u64,
    /// Put out of reach for now: in work, or to be tried again later.
    pub put_off: u64,
    pub oldest: Timestamp,
}

pub async fn waiting(connection: &mut PgConnection) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        r#"SELECT healthy, count(*) AS "chunks!", count(*) FILTER (WHERE not_before > now()) AS "put_off!",
                  min(since) AS "oldest!: jiff_sqlx::Timestamp"
           FROM chunks_to_repair GROUP BY healthy ORDER BY healthy"#
    )
    .fetch_all(connection)
    .await?;
    let waiting = rows.into_iter().map(|row| Waiting {
        healthy: row.healthy.unsigned_abs(),
        chunks: row.chunks.unsigned_abs(),
        put_off: row.put_off.unsigned_abs(),
        oldest: row.oldest.to_jiff(),
    });
    Ok(waiting.collect())
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
