//! Lists of `objects`, a page at a time.

use sqlx::PgConnection;
use sqlx::types::Json;

use super::versions::Row;
use model::ids::{BucketId, VersionId};
use model::objects::{ListEntry, ObjectMetadata, ObjectVersion, StoredChecksum};
use rules::listing::Bounds;

/// Latest versions from the lower bound on, without a look at the upper one: a bound that may be null would have the
/// index walked to its end.
pub async fn keys(
    connection: &mut PgConnection,
    bucket: BucketId,
    bounds: &Bounds,
    limit: i64,
) -> sqlx::Result<Vec<ObjectVersion>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT bucket_id, key, version_id, is_null, is_latest, is_marker, size_bytes, etag,
                  checksum AS "checksum: Json<StoredChecksum>", content_type,
                  metadata AS "metadata: Json<ObjectMetadata>", created_at, expires_at
           FROM objects
           WHERE bucket_id = $1 AND is_latest AND NOT is_marker AND key >= $2 AND (NOT $3 OR key <> $2)
           ORDER BY key LIMIT $4"#,
        bucket.as_uuid(),
        bounds.from,
        bounds.excludes_from,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(ObjectVersion::from).collect())
}

/// Latest versions within the bounds, those behind a delimiter folded into one entry.
pub async fn folded(
    connection: &mut PgConnection,
    bucket: BucketId,
    (prefix, delimiter): (&str, &str),
    bounds: &Bounds,
    limit: i32,
) -> sqlx::Result<Vec<ListEntry>> {
    let rows = sqlx::query!(
        r#"SELECT l.entry AS "entry!", l.is_prefix AS "is_prefix!", o.version_id AS "version_id?",
                  o.is_null AS "is_null?", o.size_bytes AS "size_bytes?", o.etag AS "etag?",
                  o.checksum AS "checksum?: Json<StoredChecksum>", o.content_type AS "content_type?",
                  o.metadata AS "metadata?: Json<ObjectMetadata>", o.created_at AS "created_at?",
                  o.expires_at
           FROM list_objects($1, $2, $3, $4, $5, $6, $7) AS l
                LEFT JOIN objects o ON NOT l.is_prefix AND o.bucket_id = $1 AND o.key = l.entry AND o.is_latest
           ORDER BY l.entry COLLATE "C""#,
        bucket.as_uuid(),
        prefix,
        delimiter,
        bounds.from,
        bounds.excludes_from,
        bounds.before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        if row.is_prefix {
            entries.push(ListEntry::Prefix(row.entry));
            continue;
        }
        let (Some(id), Some(is_null), Some(size_bytes)) =
            (row.version_id, row.is_null, row.size_bytes)
        else {
            continue; // the function has named a row
        };
        let (Some(content_type), Some(Json(metadata)), Some(created_at)) =
            (row.content_type, row.metadata, row.created_at)
        else {
            continue;
        };
        entries.push(ListEntry::Object(ObjectVersion {
            bucket,
            key: row.entry,
            id: VersionId::from_uuid(id),
            is_null,
            is_latest: true,
            is_marker: false,
            size_bytes: size_bytes.unsigned_abs(),
            etag: row.etag.unwrap_or_default(),
            checksum: row.checksum.map(|Json(checksum)| checksum),
            content_type,
            metadata,
            created_at: created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
        }));
    }
    Ok(entries)
}

/// All versions, markers included, from the lower bound on: those of a key together, the newest first. With `behind`,
/// which is a version of the key that the bounds begin with, those that are older than it, and then other keys.
pub async fn versions(
    connection: &mut PgConnection,
    bucket: BucketId,
    bounds: &Bounds,
    behind: Option<VersionId>,
    limit: i64,
) -> sqlx::Result<Vec<ObjectVersion>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT bucket_id, key, version_id, is_null, is_latest, is_marker, size_bytes, etag,
                  checksum AS "checksum: Json<StoredChecksum>", content_type,
                  metadata AS "metadata: Json<ObjectMetadata>", created_at, expires_at
           FROM objects
           WHERE bucket_id = $1 AND key >= $2
             AND (key <> $2 OR CASE
                     WHEN $4::uuid IS NULL THEN NOT $3
                     ELSE change_seq < coalesce((SELECT change_seq FROM objects WHERE version_id = $4), 0)
                  END)
           ORDER BY key, change_seq DESC LIMIT $5"#,
        bucket.as_uuid(),
        bounds.from,
        bounds.excludes_from,
        behind.map(|id| id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(ObjectVersion::from).collect())
}
