//! Receipts: `replicas`, seen by the owner of the file.

use proto::{BlobId, ChunkSha256, FileId, NodeId, Sealing, Signature, SignedReceipt};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::blobs::tables::chunks::piece_number;
use crate::database::{corrupt, hash32};
use model::scheme::Scheme;
use sealing::SEALING_OVERHEAD;

/// A node's receipt for one replica.
#[derive(Debug, Clone)]
pub struct ReceiptRow {
    pub index: u32,
    pub node_id: NodeId,
    pub peer_id: String,
    pub blob_id: BlobId,
    /// Bytes of the blob.
    pub length: u64,
    pub receipt: SignedReceipt,
    /// `None` where the chunk's digest is not known.
    pub content: Option<ChunkContent>,
}

/// What a chunk is, and how it is kept.
#[derive(Debug, Clone, Copy)]
pub struct ChunkContent {
    pub file_id: FileId,
    pub index: u32,
    pub bytes: u32,
    pub sha256: ChunkSha256,
    pub scheme: Scheme,
    /// Which piece of it the blob holds: 0 of a copy.
    pub piece: u8,
    pub sealing: Sealing,
}

impl ChunkContent {
    /// Of columns; `None` without a digest.
    pub(super) fn of_row(
        (file_id, index, bytes): (FileId, u32, i32),
        sha256: Option<&[u8]>,
        (data_pieces, replication): (i32, i32),
        piece: i16,
        sealing: i16,
    ) -> sqlx::Result<Option<Self>> {
        let Some(sha256) = sha256 else {
            return Ok(None);
        };
        let version = u8::try_from(sealing).map_err(|error| corrupt("files.sealing", error))?;
        Ok(Some(Self {
            file_id,
            index,
            bytes: bytes.unsigned_abs(),
            sha256: ChunkSha256::from_bytes(hash32("chunks.sha256", sha256)?),
            scheme: Scheme::of_row(data_pieces, replication),
            piece: piece_number(Some(piece))?,
            sealing: Sealing::try_from(version).map_err(|error| corrupt("files.sealing", error))?,
        }))
    }

    /// Bytes of each of its blobs.
    pub fn blob_bytes(&self) -> u64 {
        blob_bytes(self.scheme, self.bytes)
    }
}

/// Bytes of each blob of a chunk of so many.
pub fn blob_bytes(scheme: Scheme, chunk_bytes: u32) -> u64 {
    scheme.piece_len(chunk_bytes.into()) + SEALING_OVERHEAD as u64
}

/// Receipts of the file's chunks `after.0..end`, in the order of chunk and node, behind `after`. Those of
/// demoted replicas are left out: they promise a copy that the network does not count on any more.
pub async fn page(
    connection: &mut PgConnection,
    file_id: FileId,
    after: (u32, NodeId),
    end: u32,
    limit: i64,
) -> sqlx::Result<Vec<ReceiptRow>> {
    let rows = sqlx::query!(
        "SELECT r.chunk_index, r.node_id, n.peer_id, r.blob_id, c.size_bytes, r.stored_at_ms, r.signature,
                c.sha256, f.replication, f.data_pieces, r.piece, f.sealing
         FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN nodes n USING (node_id)
              JOIN files f USING (file_id)
         WHERE r.file_id = $1 AND (r.chunk_index, r.node_id) > ($2, $3) AND r.chunk_index < $4
           AND r.demoted_at IS NULL
         ORDER BY r.chunk_index, r.node_id LIMIT $5",
        file_id.as_uuid(),
        column_index(after.0),
        after.1.as_uuid(),
        column_index(end),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let signature = Signature::try_from(&row.signature[..])
                .map_err(|error| corrupt("replicas.signature", error))?;
            let chunk = (file_id, row.chunk_index.unsigned_abs(), row.size_bytes);
            let sha256 = row.sha256.as_deref();
            let scheme = (row.data_pieces, row.replication);
            Ok(ReceiptRow {
                content: ChunkContent::of_row(chunk, sha256, scheme, row.piece, row.sealing)?,
                index: row.chunk_index.unsigned_abs(),
                node_id: NodeId::from_uuid(row.node_id),
                peer_id: row.peer_id,
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
                length: blob_bytes(
                    Scheme::of_row(row.data_pieces, row.replication),
                    row.size_bytes.unsigned_abs(),
                ),
                receipt: SignedReceipt {
                    stored_at_ms: row.stored_at_ms.unsigned_abs(),
                    signature,
                },
            })
        })
        .collect()
}

/// Before every receipt of this chunk.
pub fn before(index: u32) -> (u32, NodeId) {
    (index, NodeId::from_uuid(Uuid::nil()))
}

fn column_index(index: u32) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
