//! `repair_scans`: whose replicas are to be gone through.

use std::time::Duration;

use proto::{FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::durability::tables::repair::queue::{enqueue_needy, lock_free};
use sealing::ChunkRef;

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
                  n.offline_since IS NOT NULL OR n.state IN ('draining', 'disqualified') AS "in_trouble!"
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
    /// Of which the replicas are, those passed over that others were working on; locked against removal.
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
    let chunks = lock_free(connection, &chunks.collect::<Vec<_>>()).await?;
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
