//! What the database says, asked past the coordinator: a check that asked the coordinator would share
//! its mistakes.

use std::collections::HashMap;

use anyhow::{Context, Result};
use proto::BlobId;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

/// A blob on a node, by the node's id.
pub(super) type Placed = (String, BlobId);

#[derive(Debug, Clone)]
pub(super) struct Database(PgPool);

/// What the database knows of the blobs of one node.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Replicas that count, and the plaintext length of their chunks.
    pub replicas: HashMap<BlobId, u64>,
    /// Replicas that are kept as a source of last resort.
    pub demoted: HashMap<BlobId, u64>,
    /// Blobs that the node is still to be told to give up.
    pub unwanted: HashMap<BlobId, String>,
}

impl Database {
    /// Connects when it is asked, and anew after a crash.
    pub(super) fn at(url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(url);
        Ok(Self(pool.context("the database's address")?))
    }

    /// Chunks that have replicas that count on fewer nodes than their file asks for.
    pub(super) async fn lacking(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (
                 SELECT 1 FROM chunks c
                 JOIN files f USING (file_id)
                 LEFT JOIN replicas r USING (file_id, chunk_index)
                 LEFT JOIN nodes n USING (node_id)
                 WHERE f.state <> 'deleted'
                 GROUP BY c.file_id, c.chunk_index, f.replication
                 HAVING count(DISTINCT r.node_id) FILTER (
                     WHERE r.demoted_at IS NULL
                       AND n.state NOT IN ('draining', 'drained', 'disqualified')
                 ) < f.replication) AS chunk",
        )
        .fetch_one(&self.0)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// Which of these still count as replicas.
    pub(super) async fn counted(&self, copies: &[Placed]) -> Result<Vec<Placed>> {
        let (nodes, blobs): (Vec<String>, Vec<Vec<u8>>) = copies
            .iter()
            .map(|(node, blob)| (node.clone(), blob.as_bytes().to_vec()))
            .unzip();
        let rows = sqlx::query(
            "SELECT node_id::text, blob_id FROM replicas
             JOIN unnest($1::text[], $2::bytea[]) AS damaged (node, blob)
               ON node_id = node::uuid AND blob_id = blob
             WHERE demoted_at IS NULL",
        )
        .bind(nodes)
        .bind(blobs)
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, blob_id(row.try_get(1)?)?)))
            .collect()
    }

    pub(super) async fn known(&self, node_id: &str) -> Result<Known> {
        let mut known = Known::default();
        // One statement, one moment: a replica that is trimmed moves from one to the other.
        let rows = sqlx::query(
            "SELECT blob_id, size_bytes::bigint, demoted_at IS NOT NULL, NULL
             FROM replicas JOIN chunks USING (file_id, chunk_index) WHERE node_id = $1::uuid
             UNION ALL
             SELECT blob_id, NULL, NULL, mode FROM purges WHERE node_id = $1::uuid",
        )
        .bind(node_id)
        .fetch_all(&self.0)
        .await?;
        for row in rows {
            let blob = blob_id(row.try_get(0)?)?;
            let mode: Option<String> = row.try_get(3)?;
            if let Some(mode) = mode {
                known.unwanted.insert(blob, mode);
                continue;
            }
            let length = row.try_get::<i64, _>(1)?.unsigned_abs();
            let demoted: bool = row.try_get(2)?;
            match demoted {
                true => known.demoted.insert(blob, length),
                false => known.replicas.insert(blob, length),
            };
        }
        Ok(known)
    }
}

fn blob_id(bytes: Vec<u8>) -> Result<BlobId> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("a blob id of another length than 32 bytes"))?;
    Ok(BlobId::from_bytes(bytes))
}
