//! `opened_chunks`, and one copy of a chunk with everything that opens it.

use std::time::Duration;

use proto::{BlobId, FileId, NodeId, Signature, SignedReceipt};
use sqlx::PgConnection;

use crate::database::{corrupt, hash32};
use crate::keys::data_keys::WrappedKey;
use crate::proofs::tables::receipts::{ChunkContent, ReceiptRow, blob_bytes};
use model::ids::UserId;
use model::scheme::Scheme;

/// What is asked for, as far as it is there.
#[derive(Debug)]
pub struct Asked {
    pub chunk_count: u64,
    pub key: WrappedKey,
    /// The copy on the node, if it has one.
    pub copy: Option<ReceiptRow>,
}

/// The user's file, and the copy of this chunk on this node. One that counts comes before one that was demoted.
pub async fn copy(
    connection: &mut PgConnection,
    user: UserId,
    file_id: FileId,
    index: u32,
    node_id: NodeId,
) -> sqlx::Result<Option<Asked>> {
    let row = sqlx::query!(
        r#"SELECT f.chunk_count AS "chunk_count!", f.replication, f.data_pieces, f.sealing, k.master_key_id, k.wrapped,
                  c.size_bytes AS "size_bytes?", c.sha256 AS "sha256?", n.peer_id AS "peer_id?",
                  r.blob_id AS "blob_id?", r.piece AS "piece?", r.stored_at_ms AS "stored_at_ms?", r.signature AS "signature?"
           FROM files f JOIN data_keys k USING (file_id)
                LEFT JOIN chunks c ON c.file_id = f.file_id AND c.chunk_index = $3
                LEFT JOIN replicas r ON r.file_id = f.file_id AND r.chunk_index = $3 AND r.node_id = $4
                LEFT JOIN nodes n ON n.node_id = r.node_id
           WHERE f.file_id = $1 AND f.user_id = $2 AND f.state = 'ready'
           ORDER BY r.demoted_at NULLS FIRST LIMIT 1"#,
        file_id.as_uuid(),
        user.as_uuid(),
        i32::try_from(index).unwrap_or(i32::MAX),
        node_id.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let of_copy = (
        row.size_bytes,
        row.peer_id,
        row.blob_id,
        row.stored_at_ms,
        row.signature,
    );
    let copy = match of_copy {
        (Some(size_bytes), Some(peer_id), Some(blob_id), Some(stored_at_ms), Some(signature)) => {
            let sha256 = row.sha256.as_deref();
            let scheme = (row.data_pieces, row.replication);
            let piece = row.piece.unwrap_or(0);
            let chunk = (file_id, index, size_bytes);
            let signature = Signature::try_from(&signature[..])
                .map_err(|error| corrupt("replicas.signature", error))?;
            Some(ReceiptRow {
                index,
                node_id,
                peer_id,
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &blob_id)?),
                length: blob_bytes(
                    Scheme::of_row(row.data_pieces, row.replication),
                    size_bytes.unsigned_abs(),
                ),
                receipt: SignedReceipt {
                    stored_at_ms: stored_at_ms.unsigned_abs(),
                    signature,
                },
                content: ChunkContent::of_row(chunk, sha256, scheme, piece, row.sealing)?,
            })
        }
        _ => None,
    };
    Ok(Some(Asked {
        chunk_count: u64::from(row.chunk_count.unsigned_abs()),
        key: WrappedKey::of_row(row.master_key_id, row.wrapped, row.sealing)?,
        copy,
    }))
}

/// How long it is until this chunk may be opened, if no more than `limit` of its file are opened in a day. Nothing, if
/// it may be now, or is open already.
pub async fn closed_for(
    connection: &mut PgConnection,
    file_id: FileId,
    index: u32,
    limit: u64,
) -> sqlx::Result<Option<Duration>> {
    let row = sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM opened_chunks WHERE file_id = $1 AND chunk_index = $2) AS "open!",
                  count(*) AS "opened!",
                  coalesce(extract(epoch FROM min(opened_at) + interval '1 day' - database_clock())::float8, 0)
                      AS "seconds!"
           FROM opened_chunks
           WHERE file_id = $1 AND opened_at > database_clock() - interval '1 day'"#,
        file_id.as_uuid(),
        index as i32,
    )
    .fetch_one(connection)
    .await?;
    let closed = !row.open && row.opened.unsigned_abs() >= limit;
    Ok(closed.then(|| Duration::try_from_secs_f64(row.seconds).unwrap_or_default()))
}

/// Notes that a chunk is open, under the lock of its file, or says as [`closed_for`] how long it is until it may be.
/// `None` as well when the file is gone.
pub async fn open(
    connection: &mut PgConnection,
    file_id: FileId,
    index: u32,
    limit: u64,
) -> sqlx::Result<Option<Duration>> {
    sqlx::query!(
        "SELECT FROM files WHERE file_id = $1 FOR NO KEY UPDATE",
        file_id.as_uuid()
    )
    .execute(&mut *connection)
    .await?;
    let closed = closed_for(connection, file_id, index, limit).await?;
    if closed.is_none() {
        sqlx::query!(
            "INSERT INTO opened_chunks (file_id, chunk_index)
             SELECT file_id, $2 FROM files WHERE file_id = $1 AND state = 'ready'
             ON CONFLICT DO NOTHING",
            file_id.as_uuid(),
            index as i32,
        )
        .execute(connection)
        .await?;
    }
    Ok(closed)
}
