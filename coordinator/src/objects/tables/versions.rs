//! `objects`: the versions of keys.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use model::ids::{BucketId, FileId, VersionId};
use model::names::ObjectKey;
use model::objects::{
    Described, Envelope, ObjectMetadata, ObjectVersion, StoredChecksum, VersionRef,
};
use rules::pointing::Standing;

pub(super) struct Row {
    pub bucket_id: Uuid,
    pub key: String,
    pub version_id: Uuid,
    pub is_null: bool,
    pub is_latest: bool,
    pub is_marker: bool,
    pub size_bytes: i64,
    pub etag: Option<String>,
    pub checksum: Option<Json<StoredChecksum>>,
    pub content_type: String,
    pub metadata: Json<ObjectMetadata>,
    pub created_at: jiff_sqlx::Timestamp,
    pub expires_at: Option<jiff_sqlx::Timestamp>,
}

impl From<Row> for ObjectVersion {
    fn from(row: Row) -> Self {
        Self {
            bucket: BucketId::from_uuid(row.bucket_id),
            key: row.key,
            id: VersionId::from_uuid(row.version_id),
            is_null: row.is_null,
            is_latest: row.is_latest,
            is_marker: row.is_marker,
            size_bytes: row.size_bytes.unsigned_abs(),
            etag: row.etag.unwrap_or_default(),
            checksum: row.checksum.map(|Json(checksum)| checksum),
            content_type: row.content_type,
            metadata: row.metadata.0,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

/// The version that is meant, markers included.
pub async fn find(
    connection: &mut PgConnection,
    bucket: BucketId,
    key: &str,
    version: VersionRef,
) -> sqlx::Result<Option<ObjectVersion>> {
    let id = match version {
        VersionRef::Id(id) => Some(id.as_uuid()),
        VersionRef::Latest | VersionRef::Null => None,
    };
    let row = sqlx::query_as!(
        Row,
        r#"SELECT bucket_id, key, version_id, is_null, is_latest, is_marker, size_bytes, etag,
                  checksum AS "checksum: Json<StoredChecksum>", content_type,
                  metadata AS "metadata: Json<ObjectMetadata>", created_at, expires_at
           FROM objects
           WHERE bucket_id = $1 AND key = $2
             AND CASE WHEN $3 THEN is_latest WHEN $4 THEN is_null ELSE version_id = $5 END"#,
        bucket.as_uuid(),
        key,
        version == VersionRef::Latest,
        version == VersionRef::Null,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(ObjectVersion::from))
}

/// What end-to-end clients keep with these.
pub async fn envelopes(
    connection: &mut PgConnection,
    ids: &[VersionId],
) -> sqlx::Result<HashMap<VersionId, Envelope>> {
    let ids: Vec<Uuid> = ids.iter().map(VersionId::as_uuid).collect();
    let rows = sqlx::query!(
        r#"SELECT version_id, envelope AS "envelope!" FROM objects
           WHERE version_id = ANY($1) AND envelope IS NOT NULL"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let envelopes = rows.into_iter().map(|row| {
        let id = VersionId::from_uuid(row.version_id);
        (id, Envelope::stored(row.envelope))
    });
    Ok(envelopes.collect())
}

/// A version whose time is up.
pub async fn one_expired(connection: &mut PgConnection) -> sqlx::Result<Option<ObjectVersion>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT bucket_id, key, version_id, is_null, is_latest, is_marker, size_bytes, etag,
                  checksum AS "checksum: Json<StoredChecksum>", content_type,
                  metadata AS "metadata: Json<ObjectMetadata>", created_at, expires_at
           FROM objects WHERE expires_at <= now() ORDER BY expires_at LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(ObjectVersion::from))
}

/// It goes by another key from now on, whose latest it is.
pub async fn rename(
    connection: &mut PgConnection,
    id: VersionId,
    (bucket, key): (BucketId, &ObjectKey),
    change_seq: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH told AS (
             INSERT INTO object_changes (bucket_id, change_seq, key, version_id, what)
             VALUES ($2, $4, $3, $1, 'put'))
         UPDATE objects SET bucket_id = $2, key = $3, change_seq = $4 WHERE version_id = $1",
        id.as_uuid(),
        bucket.as_uuid(),
        key.as_str(),
        change_seq,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Of each of these keys, in order, the latest version and the null version, which may be one.
pub async fn standing(
    connection: &mut PgConnection,
    keys: &[(BucketId, &str)],
) -> sqlx::Result<Vec<Vec<Standing>>> {
    let (buckets, names): (Vec<Uuid>, Vec<String>) = keys
        .iter()
        .map(|(bucket, key)| (bucket.as_uuid(), (*key).to_owned()))
        .unzip();
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", o.version_id, o.is_latest, o.is_null, o.etag
           FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (bucket_id, key, place)
                JOIN objects o ON o.bucket_id = k.bucket_id AND o.key = k.key
           WHERE o.is_latest OR o.is_null"#,
        &buckets,
        &names,
    )
    .fetch_all(connection)
    .await?;
    let mut standing = vec![Vec::new(); keys.len()];
    for row in rows {
        let place = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
        if let Some(of_key) = standing.get_mut(place) {
            of_key.push(Standing {
                id: VersionId::from_uuid(row.version_id),
                is_latest: row.is_latest,
                is_null: row.is_null,
                etag: row.etag,
            });
        }
    }
    Ok(standing)
}

/// A version that is about to be there, the latest of its key.
#[derive(Debug)]
pub struct NewVersion<'a> {
    pub bucket: BucketId,
    pub id: VersionId,
    pub described: &'a Described,
    pub is_null: bool,
    /// `None` of a marker.
    pub etag: Option<&'a str>,
    pub size_bytes: u64,
    pub checksum: Option<&'a StoredChecksum>,
    pub change_seq: i64,
    pub at: Timestamp,
}

fn json<T: Serialize>(value: &T) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// Together with what the feed of changes says of them.
pub async fn insert(connection: &mut PgConnection, rows: &[NewVersion<'_>]) -> sqlx::Result<()> {
    fn column<'r, T>(rows: &'r [NewVersion<'r>], value: impl Fn(&NewVersion<'r>) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }
    let checksums = rows.iter().map(|row| row.checksum.map(json).transpose());
    let checksums = checksums.collect::<sqlx::Result<Vec<Option<String>>>>()?;
    let metadata = rows.iter().map(|row| json(&row.described.metadata));
    let metadata = metadata.collect::<sqlx::Result<Vec<String>>>()?;
    sqlx::query!(
        "WITH new AS (
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::boolean[], $5::text[], $6::bigint[],
                                  $7::text[], $8::text[], $9::text[], $10::bigint[], $11::timestamptz[],
                                  $12::bytea[], $13::timestamptz[])
                 AS n (bucket_id, key, version_id, is_null, etag, size_bytes, checksum, content_type, metadata,
                       change_seq, at, envelope, expires_at)),
         told AS (
             INSERT INTO object_changes (bucket_id, change_seq, key, version_id, what, at)
             SELECT bucket_id, change_seq, key, version_id,
                    CASE WHEN etag IS NULL THEN 'marker' ELSE 'put' END, at FROM new)
         INSERT INTO objects (bucket_id, key, version_id, is_latest, is_marker, is_null, size_bytes, etag, checksum,
                              content_type, metadata, change_seq, created_at, envelope, expires_at)
         SELECT bucket_id, key, version_id, true, etag IS NULL, is_null, size_bytes, etag, checksum::jsonb,
                content_type, metadata::jsonb, change_seq, at, envelope, expires_at FROM new",
        &column(rows, |row| row.bucket.as_uuid()),
        &column(rows, |row| row.described.key.as_str().to_owned()),
        &column(rows, |row| row.id.as_uuid()),
        &column(rows, |row| row.is_null),
        &column(rows, |row| row.etag.map(str::to_owned)) as &[Option<String>],
        &column(rows, |row| row.size_bytes as i64),
        &checksums as &[Option<String>],
        &column(rows, |row| row.described.content_type.as_str().to_owned()),
        &metadata,
        &column(rows, |row| row.change_seq),
        &column(rows, |row| row.at.to_sqlx()) as &[jiff_sqlx::Timestamp],
        &column(rows, |row| {
            let envelope = row.described.envelope.as_ref();
            envelope.map(|envelope| envelope.as_bytes().to_vec())
        }) as &[Option<Vec<u8>>],
        &column(rows, |row| row.described.expires_at.map(ToSqlx::to_sqlx))
            as &[Option<jiff_sqlx::Timestamp>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Others become the latest of their keys.
pub async fn demote(connection: &mut PgConnection, ids: &[VersionId]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(VersionId::as_uuid).collect();
    sqlx::query!(
        "UPDATE objects SET is_latest = false WHERE version_id = ANY($1)",
        &ids
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes versions away, with what they say of their parts.
pub async fn delete(connection: &mut PgConnection, ids: &[VersionId]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(VersionId::as_uuid).collect();
    sqlx::query!("DELETE FROM objects WHERE version_id = ANY($1)", &ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// The newest version of the key is its latest, now that the latest is gone.
pub async fn promote_newest(
    connection: &mut PgConnection,
    bucket: BucketId,
    key: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE objects SET is_latest = true
         WHERE version_id = (SELECT version_id FROM objects WHERE bucket_id = $1 AND key = $2
                             ORDER BY change_seq DESC LIMIT 1)",
        bucket.as_uuid(),
        key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Versions whose file `file` is, with their keys.
pub async fn of_file(
    connection: &mut PgConnection,
    file: FileId,
) -> sqlx::Result<HashMap<VersionId, (BucketId, String)>> {
    let rows = sqlx::query!(
        "SELECT o.version_id, bucket_id, key FROM object_parts p JOIN objects o ON o.version_id = p.version_id
         WHERE p.file_id = $1",
        file.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let versions = rows.into_iter().map(|row| {
        let key = (BucketId::from_uuid(row.bucket_id), row.key);
        (VersionId::from_uuid(row.version_id), key)
    });
    Ok(versions.collect())
}

/// Some versions of a bucket, with their keys: the latest of each key first.
pub async fn some_of(
    connection: &mut PgConnection,
    bucket: BucketId,
    limit: i64,
) -> sqlx::Result<Vec<(VersionId, String)>> {
    let rows = sqlx::query!(
        "SELECT version_id, key FROM objects WHERE bucket_id = $1 ORDER BY key, change_seq DESC LIMIT $2",
        bucket.as_uuid(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (VersionId::from_uuid(row.version_id), row.key))
        .collect())
}

/// Where in an object a file's bytes are seen.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    pub bucket: String,
    pub key: String,
    pub version_id: Uuid,
    pub is_latest: bool,
    pub part: i32,
}

/// Some places of a file, the newest versions first.
pub async fn places_of(
    connection: &mut PgConnection,
    file: FileId,
    limit: i64,
) -> sqlx::Result<Vec<Place>> {
    sqlx::query_as!(
        Place,
        "SELECT b.name AS bucket, o.key, o.version_id, o.is_latest, p.part
         FROM object_parts p JOIN objects o ON o.version_id = p.version_id JOIN buckets b ON b.bucket_id = o.bucket_id
         WHERE p.file_id = $1 ORDER BY o.created_at DESC, o.version_id LIMIT $2",
        file.as_uuid(),
        limit,
    )
    .fetch_all(connection)
    .await
}

/// The files with bytes of a key, those of its newest version first.
pub async fn files_of_key(
    connection: &mut PgConnection,
    bucket: &str,
    key: &str,
    limit: i64,
) -> sqlx::Result<Vec<(FileId, Place)>> {
    let rows = sqlx::query!(
        "SELECT b.name AS bucket, o.key, o.version_id, o.is_latest, p.part, p.file_id
         FROM buckets b JOIN objects o ON o.bucket_id = b.bucket_id JOIN object_parts p ON p.version_id = o.version_id
         WHERE b.name = $1 AND o.key = $2 AND p.part > 0
         ORDER BY o.change_seq DESC, p.part LIMIT $3",
        bucket,
        key,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(|row| {
        let place = Place {
            bucket: row.bucket,
            key: row.key,
            version_id: row.version_id,
            is_latest: row.is_latest,
            part: row.part,
        };
        (FileId::from_uuid(row.file_id), place)
    });
    Ok(found.collect())
}
