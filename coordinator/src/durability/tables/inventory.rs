//! `replicas`, in the order in which nodes tell what they hold.

use proto::{BlobId, BlobRange, NodeId};
use sqlx::PgConnection;

use crate::database::hash32;

/// Blobs that rows name on a node, demoted or not, `limit` at most: a read of the index alone.
pub async fn ids(
    connection: &mut PgConnection,
    node: NodeId,
    range: &BlobRange,
    limit: usize,
) -> sqlx::Result<Vec<BlobId>> {
    let rows = sqlx::query_scalar!(
        "SELECT blob_id FROM replicas
         WHERE node_id = $1 AND blob_id >= $2 AND blob_id <= $3 ORDER BY blob_id LIMIT $4",
        node.as_uuid(),
        &range.first.as_bytes()[..],
        &range.last.as_bytes()[..],
        limit as i64,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|blob| Ok(BlobId::from_bytes(hash32("replicas.blob_id", blob)?)))
        .collect()
}

/// The same, with whether each is demoted.
pub async fn replicas(
    connection: &mut PgConnection,
    node: NodeId,
    range: &BlobRange,
    limit: usize,
) -> sqlx::Result<Vec<(BlobId, bool)>> {
    let rows = sqlx::query!(
        r#"SELECT blob_id, demoted_at IS NOT NULL AS "demoted!" FROM replicas
           WHERE node_id = $1 AND blob_id >= $2 AND blob_id <= $3 ORDER BY blob_id LIMIT $4"#,
        node.as_uuid(),
        &range.first.as_bytes()[..],
        &range.last.as_bytes()[..],
        limit as i64,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let blob = BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?);
            Ok((blob, row.demoted))
        })
        .collect()
}
