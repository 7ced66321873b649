//! `object_changes`: what has happened to the keys of a bucket, in order and without a gap.

use jiff::Timestamp;
use sqlx::PgConnection;

use model::ids::{BucketId, VersionId};

#[derive(Debug, Clone)]
pub struct Change {
    pub seq: i64,
    pub key: String,
    pub version: VersionId,
    /// `put`, `marker`, `removed`
    pub what: String,
    pub at: Timestamp,
}

/// A version was taken away.
pub async fn note_removed(
    connection: &mut PgConnection,
    bucket: BucketId,
    seq: i64,
    key: &str,
    version: VersionId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO object_changes (bucket_id, change_seq, key, version_id, what)
         VALUES ($1, $2, $3, $4, 'removed')",
        bucket.as_uuid(),
        seq,
        key,
        version.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those behind `after`.
pub async fn since(
    connection: &mut PgConnection,
    bucket: BucketId,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<Change>> {
    let rows = sqlx::query!(
        "SELECT change_seq, key, version_id, what, at FROM object_changes
         WHERE bucket_id = $1 AND change_seq > $2 ORDER BY change_seq LIMIT $3",
        bucket.as_uuid(),
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let changes = rows.into_iter().map(|row| Change {
        seq: row.change_seq,
        key: row.key,
        version: VersionId::from_uuid(row.version_id),
        what: row.what,
        at: row.at.to_jiff(),
    });
    Ok(changes.collect())
}

/// The number of the bucket's last change.
pub async fn last(connection: &mut PgConnection, bucket: BucketId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "SELECT change_seq FROM buckets WHERE bucket_id = $1",
        bucket.as_uuid()
    )
    .fetch_optional(connection)
    .await
}

/// Those that have been kept for 90 days.
pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM object_changes WHERE (bucket_id, change_seq) IN
             (SELECT bucket_id, change_seq FROM object_changes
              WHERE at < now() - interval '90 days' ORDER BY at LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Forgets some of a bucket's.
pub async fn forget(
    connection: &mut PgConnection,
    bucket: BucketId,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM object_changes WHERE bucket_id = $1 AND change_seq IN
             (SELECT change_seq FROM object_changes WHERE bucket_id = $1 ORDER BY change_seq LIMIT $2)",
        bucket.as_uuid(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
