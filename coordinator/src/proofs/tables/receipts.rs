//! Receipts: `replicas`, seen by the owner of the file.

use proto::{BlobId, FileId, NodeId, Signature, SignedReceipt};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
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
        "SELECT r.chunk_index, r.node_id, n.peer_id, r.blob_id, c.size_bytes, r.stored_at_ms, r.signature
         FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN nodes n USING (node_id)
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
            Ok(ReceiptRow {
                index: row.chunk_index.unsigned_abs(),
                node_id: NodeId::from_uuid(row.node_id),
                peer_id: row.peer_id,
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
                length: u64::from(row.size_bytes.unsigned_abs()) + SEALING_OVERHEAD as u64,
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
