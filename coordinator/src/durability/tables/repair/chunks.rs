//! Chunks and their replicas, as repair reads, locks and removes them.

use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::blobs::tables::chunks::piece_number;
use crate::database::{corrupt, hash32};
use crate::durability::tables::repair::{blob_columns, columns};
use crate::keys::data_keys::WrappedKey;
use model::scheme::Scheme;
use rules::placement::FailureDomains;
use rules::repair::{Presence, Replica};
use sealing::{ChunkRef, SEALING_OVERHEAD};

/// A chunk that is there, and what its file says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptChunk {
    pub chunk: ChunkRef,
    pub version: u64,
    pub size_bytes: u32,
    pub scheme: Scheme,
    /// Its upload is complete: its replicas earn.
    pub ready: bool,
}

impl KeptChunk {
    /// Bytes of each of its blobs.
    pub fn blob_bytes(&self) -> u64 {
        self.scheme.piece_len(self.size_bytes.into()) + SEALING_OVERHEAD as u64
    }
}

struct KeptRow {
    file_id: Uuid,
    chunk_index: i32,
    version: i64,
    size_bytes: i32,
    replication: i32,
    data_pieces: i32,
    ready: bool,
}

impl From<KeptRow> for KeptChunk {
    fn from(row: KeptRow) -> Self {
        Self {
            chunk: ChunkRef {
                file_id: FileId::from_uuid(row.file_id),
                index: row.chunk_index.unsigned_abs(),
            },
            version: row.version.unsigned_abs(),
            size_bytes: row.size_bytes.unsigned_abs(),
            scheme: Scheme::of_row(row.data_pieces, row.replication),
            ready: row.ready,
        }
    }
}

/// Those of these chunks whose files are stored completely.
pub async fn ready_chunks(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<KeptChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query_as!(
        KeptRow,
        r#"SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication, f.data_pieces,
                  true AS "ready!"
         FROM chunks c JOIN files f USING (file_id)
         WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
           AND f.state = 'ready'"#,
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(KeptChunk::from).collect())
}

/// Locks those of these chunks that are there, and their files against being deleted or completed.
pub async fn lock_chunks(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<KeptChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query_as!(
        KeptRow,
        r#"SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication, f.data_pieces,
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
    Ok(rows.into_iter().map(KeptChunk::from).collect())
}

/// A chunk with the key of its file, as it is before it is worked on.
#[derive(Debug, Clone)]
pub struct SealedChunk {
    pub kept: KeptChunk,
    /// Of the plaintext; `None` where an older coordinator took a file in one request.
    pub sha256: Option<[u8; 32]>,
    pub key: WrappedKey,
}

/// Those of these chunks that are there and whose files have their keys.
pub async fn with_keys(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<SealedChunk>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        r#"SELECT c.file_id, c.chunk_index, c.version, c.size_bytes, f.replication, f.data_pieces,
                  f.state = 'ready' AS "ready!", c.sha256, k.master_key_id, k.wrapped,
                  f.sealing
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
                kept: KeptRow {
                    file_id: row.file_id,
                    chunk_index: row.chunk_index,
                    version: row.version,
                    size_bytes: row.size_bytes,
                    replication: row.replication,
                    data_pieces: row.data_pieces,
                    ready: row.ready,
                }
                .into(),
                sha256: sha256.transpose()?,
                key: WrappedKey::of_row(row.master_key_id, row.wrapped, row.sealing)?,
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
        r#"SELECT r.file_id, r.chunk_index, r.node_id, r.blob_id, r.piece, r.earns,
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
                piece: piece_number(Some(row.piece))?,
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
