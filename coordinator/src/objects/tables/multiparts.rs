//! `multipart_uploads` and `multipart_parts`: objects that come in parts, until they are complete.

use std::collections::HashSet;
use std::time::Duration;

use proto::FileId;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use model::ids::{BucketId, MultipartId, VersionId};
use model::names::ObjectKey;
use model::objects::{Multipart, MultipartPart, ObjectMetadata, StoredChecksum};

struct Row {
    upload_id: Uuid,
    bucket_id: Uuid,
    key: String,
    content_type: String,
    metadata: Json<ObjectMetadata>,
    checksum_algorithm: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    completed_as: Option<Uuid>,
}

impl From<Row> for Multipart {
    fn from(row: Row) -> Self {
        Self {
            id: MultipartId::from_uuid(row.upload_id),
            bucket: BucketId::from_uuid(row.bucket_id),
            key: row.key,
            content_type: row.content_type,
            metadata: row.metadata.0,
            checksum_algorithm: row.checksum_algorithm,
            created_at: row.created_at.to_jiff(),
            completed_as: row.completed_as.map(VersionId::from_uuid),
        }
    }
}

/// One that is about to begin.
#[derive(Debug)]
pub struct NewMultipart<'a> {
    pub id: MultipartId,
    pub bucket: BucketId,
    pub key: &'a ObjectKey,
    pub content_type: &'a str,
    pub metadata: &'a ObjectMetadata,
    pub checksum_algorithm: Option<&'a str>,
    pub ttl: Duration,
}

pub async fn insert(connection: &mut PgConnection, new: &NewMultipart<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO multipart_uploads (upload_id, bucket_id, key, content_type, metadata, checksum_algorithm,
                                        expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))",
        new.id.as_uuid(),
        new.bucket.as_uuid(),
        new.key.as_str(),
        new.content_type,
        Json(new.metadata) as _,
        new.checksum_algorithm,
        new.ttl.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many of a bucket are under way; looks no further than `limit`.
pub async fn count_open(
    connection: &mut PgConnection,
    bucket: BucketId,
    limit: i64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM (SELECT FROM multipart_uploads
           WHERE bucket_id = $1 AND completed_as IS NULL LIMIT $2) AS open"#,
        bucket.as_uuid(),
        limit,
    )
    .fetch_one(connection)
    .await
}

pub async fn find(
    connection: &mut PgConnection,
    id: MultipartId,
) -> sqlx::Result<Option<Multipart>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT upload_id, bucket_id, key, content_type, metadata AS "metadata: Json<ObjectMetadata>",
                  checksum_algorithm, created_at, completed_as
           FROM multipart_uploads WHERE upload_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Multipart::from))
}

/// Those under way whose keys begin so, behind the named one, in order of key and id.
pub async fn of_bucket(
    connection: &mut PgConnection,
    bucket: BucketId,
    (from, before): (&str, Option<&str>),
    behind: (&str, Option<MultipartId>),
    limit: i64,
) -> sqlx::Result<Vec<Multipart>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT upload_id, bucket_id, key, content_type, metadata AS "metadata: Json<ObjectMetadata>",
                  checksum_algorithm, created_at, completed_as
           FROM multipart_uploads
           WHERE bucket_id = $1 AND completed_as IS NULL AND key >= $2 AND ($3::text IS NULL OR key < $3)
             AND (key > $4 OR (key = $4 AND upload_id > $5))
           ORDER BY key, upload_id LIMIT $6"#,
        bucket.as_uuid(),
        from,
        before,
        behind.0,
        behind.1.map(|id| id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Multipart::from).collect())
}

/// Keeps these from ending as long as the transaction lasts; those that are under way.
pub async fn share(
    connection: &mut PgConnection,
    ids: &[MultipartId],
) -> sqlx::Result<HashSet<MultipartId>> {
    let ids: Vec<Uuid> = ids.iter().map(MultipartId::as_uuid).collect();
    let open = sqlx::query_scalar!(
        "SELECT upload_id FROM multipart_uploads WHERE upload_id = ANY($1) AND completed_as IS NULL
         ORDER BY upload_id FOR KEY SHARE",
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(open.into_iter().map(MultipartId::from_uuid).collect())
}

/// Waits for parts that are being entered, and keeps others from being; those that are under way.
pub async fn lock(
    connection: &mut PgConnection,
    ids: &[MultipartId],
) -> sqlx::Result<HashSet<MultipartId>> {
    let ids: Vec<Uuid> = ids.iter().map(MultipartId::as_uuid).collect();
    let open = sqlx::query_scalar!(
        "SELECT upload_id FROM multipart_uploads WHERE upload_id = ANY($1) AND completed_as IS NULL
         ORDER BY upload_id FOR UPDATE",
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(open.into_iter().map(MultipartId::from_uuid).collect())
}

/// One whose time is up, and whether it was completed; those that others work on are passed over.
pub async fn lock_one_expired(
    connection: &mut PgConnection,
) -> sqlx::Result<Option<(MultipartId, bool)>> {
    let row = sqlx::query!(
        r#"SELECT upload_id, completed_as IS NOT NULL AS "is_completed!" FROM multipart_uploads
           WHERE expires_at < now() ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (MultipartId::from_uuid(row.upload_id), row.is_completed)))
}

/// One of a bucket that is under way; those that others work on are passed over.
pub async fn lock_one_of(
    connection: &mut PgConnection,
    bucket: BucketId,
) -> sqlx::Result<Option<MultipartId>> {
    let id = sqlx::query_scalar!(
        "SELECT upload_id FROM multipart_uploads WHERE bucket_id = $1 AND completed_as IS NULL
         LIMIT 1 FOR UPDATE SKIP LOCKED",
        bucket.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(MultipartId::from_uuid))
}

/// It has become this version, which is remembered for a day; its parts are the version's, or nobody's.
pub async fn mark_completed(
    connection: &mut PgConnection,
    id: MultipartId,
    version: VersionId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH parts AS (DELETE FROM multipart_parts WHERE upload_id = $1)
         UPDATE multipart_uploads SET completed_as = $2, expires_at = now() + interval '1 day' WHERE upload_id = $1",
        id.as_uuid(),
        version.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// With its parts.
pub async fn delete(connection: &mut PgConnection, id: MultipartId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM multipart_uploads WHERE upload_id = $1",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those behind the named one, in order.
pub async fn parts(
    connection: &mut PgConnection,
    id: MultipartId,
    after: u32,
    limit: i64,
) -> sqlx::Result<Vec<MultipartPart>> {
    let rows = sqlx::query!(
        r#"SELECT part, file_id, size_bytes, etag, checksum AS "checksum: Json<StoredChecksum>", stored_at
           FROM multipart_parts WHERE upload_id = $1 AND part > $2 ORDER BY part LIMIT $3"#,
        id.as_uuid(),
        i32::try_from(after).unwrap_or(i32::MAX),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let parts = rows.into_iter().map(|row| MultipartPart {
        number: row.part.unsigned_abs(),
        file_id: FileId::from_uuid(row.file_id),
        size_bytes: row.size_bytes.unsigned_abs(),
        etag: row.etag,
        checksum: row.checksum.map(|Json(checksum)| checksum),
        stored_at: row.stored_at.to_jiff(),
    });
    Ok(parts.collect())
}

/// All files of these uploads.
pub async fn files_of(
    connection: &mut PgConnection,
    ids: &[MultipartId],
) -> sqlx::Result<Vec<FileId>> {
    let ids: Vec<Uuid> = ids.iter().map(MultipartId::as_uuid).collect();
    let files = sqlx::query_scalar!(
        "SELECT DISTINCT file_id FROM multipart_parts WHERE upload_id = ANY($1)",
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(files.into_iter().map(FileId::from_uuid).collect())
}

/// The files of those of these parts that are there.
pub async fn files_at(
    connection: &mut PgConnection,
    parts: &[(MultipartId, u32)],
) -> sqlx::Result<Vec<FileId>> {
    let (ids, numbers): (Vec<Uuid>, Vec<i32>) = parts
        .iter()
        .map(|(id, number)| (id.as_uuid(), *number as i32))
        .unzip();
    let files = sqlx::query_scalar!(
        "SELECT file_id FROM unnest($1::uuid[], $2::int[]) AS p (upload_id, part)
              JOIN multipart_parts USING (upload_id, part)",
        &ids,
        &numbers,
    )
    .fetch_all(connection)
    .await?;
    Ok(files.into_iter().map(FileId::from_uuid).collect())
}

/// Enters a part, in the place of the one that had its number.
pub async fn put_part(
    connection: &mut PgConnection,
    id: MultipartId,
    part: &MultipartPart,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO multipart_parts (upload_id, part, file_id, size_bytes, etag, checksum, stored_at)
         VALUES ($1, $2, $3, $4, $5, $6, now())
         ON CONFLICT (upload_id, part) DO UPDATE
         SET file_id = excluded.file_id, size_bytes = excluded.size_bytes, etag = excluded.etag,
             checksum = excluded.checksum, stored_at = excluded.stored_at",
        id.as_uuid(),
        part.number as i32,
        part.file_id.as_uuid(),
        part.size_bytes as i64,
        part.etag,
        part.checksum.as_ref().map(Json) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The file ends: no upload has it as a part any more.
pub async fn forget_file(connection: &mut PgConnection, file: FileId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM multipart_parts WHERE file_id = $1",
        file.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}
