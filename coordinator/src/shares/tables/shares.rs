//! `shares`.

use credentials::share::ShareHash;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use model::ids::{BucketId, UserId, VersionId};
use model::sharing::{ShareChange, ShareTarget};
use proto::FileId;
use rules::sharing::Usage;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
use crate::keys::secrets::WrappedSecret;
use crate::shares::Share;

struct Row {
    share_hash: Vec<u8>,
    user_id: Uuid,
    file_id: Option<Uuid>,
    bucket_id: Option<Uuid>,
    key: Option<String>,
    version_id: Option<Uuid>,
    bucket: Option<String>,
    name: String,
    password_hash: Option<String>,
    envelope: Option<Vec<u8>>,
    evidence: bool,
    request_hash: Vec<u8>,
    created_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    max_downloads: Option<i32>,
    downloads: i32,
    sent_bytes: i64,
    is_over: bool,
    master_key_id: Option<String>,
    wrapped: Option<Vec<u8>>,
}

impl TryFrom<Row> for Share {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let target = match (row.file_id, row.bucket_id, row.key) {
            (Some(file), None, None) => ShareTarget::File(FileId::from_uuid(file)),
            (None, Some(bucket), Some(key)) => ShareTarget::Object {
                bucket: BucketId::from_uuid(bucket),
                key,
                version: row.version_id.map(VersionId::from_uuid),
            },
            _ => return Err(corrupt("shares", "a target that is neither or both")),
        };
        let id = row.master_key_id.zip(row.wrapped);
        Ok(Self {
            hash: ShareHash(hash32("shares.share_hash", &row.share_hash)?),
            owner: UserId::from_uuid(row.user_id),
            target,
            bucket: row.bucket,
            name: row.name,
            password_hash: row.password_hash,
            envelope: row.envelope,
            evidence: row.evidence,
            request_hash: hash32("shares.request_hash", &row.request_hash)?,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            usage: Usage {
                downloads: row.downloads.unsigned_abs(),
                sent_bytes: row.sent_bytes.unsigned_abs(),
                max_downloads: row.max_downloads.map(i32::unsigned_abs),
            },
            is_over: row.is_over,
            id: id.map(|(master_key_id, bytes)| WrappedSecret {
                master_key_id,
                bytes,
            }),
        })
    }
}

/// The newest first.
async fn these(connection: &mut PgConnection, hashes: &[Vec<u8>]) -> sqlx::Result<Vec<Share>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT s.share_hash, s.user_id, s.file_id, s.bucket_id, s.key, s.version_id, b.name AS "bucket?", s.name,
                  s.password_hash, s.envelope, s.evidence, s.request_hash, s.created_at, s.expires_at, s.max_downloads,
                  s.downloads, s.sent_bytes, w.master_key_id AS "master_key_id?", w.wrapped AS "wrapped?",
                  (coalesce(s.expires_at <= database_clock(), false) OR u.suspended_at IS NOT NULL
                   OR u.closed_at IS NOT NULL) AS "is_over!"
           FROM shares s JOIN users u ON u.user_id = s.user_id
                LEFT JOIN buckets b ON b.bucket_id = s.bucket_id
                LEFT JOIN wrapped_secrets w ON w.purpose = 'share' AND w.subject = encode(s.share_hash, 'hex')
           WHERE s.share_hash = ANY($1) ORDER BY s.created_at DESC, s.share_hash"#,
        hashes,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Share::try_from).collect()
}

pub async fn one(connection: &mut PgConnection, hash: ShareHash) -> sqlx::Result<Option<Share>> {
    Ok(these(connection, &[hash.0.to_vec()]).await?.pop())
}

/// All of an account, the newest first. Their number is bounded.
pub async fn of_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Vec<Share>> {
    let hashes = sqlx::query_scalar!(
        "SELECT share_hash FROM shares WHERE user_id = $1",
        user.as_uuid()
    )
    .fetch_all(&mut *connection)
    .await?;
    these(connection, &hashes).await
}

pub async fn count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM shares WHERE user_id = $1"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

/// Keeps a file from going as long as the transaction lasts; its name. Taken before all else, as whoever deletes does.
pub async fn hold_file(
    connection: &mut PgConnection,
    user: UserId,
    file: FileId,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT filename FROM files WHERE file_id = $1 AND user_id = $2 AND state = 'ready' AND role = 'file'
         FOR KEY SHARE",
        file.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The same of a bucket, if the version can be read. The version itself is not held: whoever takes it away has locked the
/// account before. `false` when there is none.
pub async fn hold_object(
    connection: &mut PgConnection,
    bucket: BucketId,
    key: &str,
    version: Option<VersionId>,
) -> sqlx::Result<bool> {
    let held = sqlx::query_scalar!(
        r#"SELECT 1 AS "held!" FROM buckets b JOIN objects o ON o.bucket_id = b.bucket_id
           WHERE b.bucket_id = $1 AND o.key = $2 AND NOT o.is_marker
             AND CASE WHEN $3::uuid IS NULL THEN o.is_latest ELSE o.version_id = $3 END
           FOR KEY SHARE OF b"#,
        bucket.as_uuid(),
        key,
        version.map(|version| version.as_uuid()),
    )
    .fetch_optional(connection)
    .await?;
    Ok(held.is_some())
}

/// A share that is about to be there.
#[derive(Debug)]
pub struct NewRow<'a> {
    pub hash: ShareHash,
    pub user: UserId,
    pub target: &'a ShareTarget,
    pub name: &'a str,
    pub password_hash: Option<&'a str>,
    pub envelope: Option<&'a [u8]>,
    pub evidence: bool,
    pub request_hash: [u8; 32],
    pub expires_at: Option<Timestamp>,
    pub max_downloads: Option<u32>,
}

/// `false` when there is one of this id. Where the version has gone at this moment, a foreign key is violated.
pub async fn insert(connection: &mut PgConnection, row: &NewRow<'_>) -> sqlx::Result<bool> {
    let (file, bucket, key, version) = match row.target {
        ShareTarget::File(file) => (Some(file.as_uuid()), None, None, None),
        ShareTarget::Object {
            bucket,
            key,
            version,
        } => (
            None,
            Some(bucket.as_uuid()),
            Some(key.as_str()),
            version.map(|version| version.as_uuid()),
        ),
    };
    let result = sqlx::query!(
        "INSERT INTO shares (share_hash, user_id, file_id, bucket_id, key, version_id, name, password_hash, envelope,
                             evidence, request_hash, expires_at, max_downloads)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (share_hash) DO NOTHING",
        &row.hash.0[..],
        row.user.as_uuid(),
        file,
        bucket,
        key,
        version,
        row.name,
        row.password_hash,
        row.envelope,
        row.evidence,
        &row.request_hash[..],
        row.expires_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        row.max_downloads.map(u32::cast_signed),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when the user has no such share.
pub async fn change(
    connection: &mut PgConnection,
    user: UserId,
    hash: ShareHash,
    change: &ShareChange,
) -> sqlx::Result<bool> {
    let expires_at = change.expires_at.flatten();
    let result = sqlx::query!(
        "UPDATE shares SET expires_at = CASE WHEN $3 THEN $4 ELSE expires_at END,
                           max_downloads = CASE WHEN $5 THEN $6 ELSE max_downloads END,
                           password_hash = CASE WHEN $7 THEN $8 ELSE password_hash END
         WHERE share_hash = $1 AND user_id = $2",
        &hash.0[..],
        user.as_uuid(),
        change.expires_at.is_some(),
        expires_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        change.max_downloads.is_some(),
        change.max_downloads.flatten().map(u32::cast_signed),
        change.password_hash.is_some(),
        change.password_hash.clone().flatten(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when the user has no such share.
pub async fn delete(
    connection: &mut PgConnection,
    user: UserId,
    hash: ShareHash,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM shares WHERE share_hash = $1 AND user_id = $2",
        &hash.0[..],
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// What it has been used for, locked; `None` when it has gone.
pub async fn lock_usage(
    connection: &mut PgConnection,
    hash: ShareHash,
) -> sqlx::Result<Option<Usage>> {
    let row = sqlx::query!(
        "SELECT downloads, sent_bytes, max_downloads FROM shares WHERE share_hash = $1 FOR NO KEY UPDATE",
        &hash.0[..],
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Usage {
        downloads: row.downloads.unsigned_abs(),
        sent_bytes: row.sent_bytes.unsigned_abs(),
        max_downloads: row.max_downloads.map(i32::unsigned_abs),
    }))
}

pub async fn set_usage(
    connection: &mut PgConnection,
    hash: ShareHash,
    usage: Usage,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE shares SET downloads = $2, sent_bytes = $3 WHERE share_hash = $1",
        &hash.0[..],
        i32::try_from(usage.downloads).unwrap_or(i32::MAX),
        i64::try_from(usage.sent_bytes).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes back what was counted and not sent.
pub async fn give_back(
    connection: &mut PgConnection,
    hash: ShareHash,
    bytes: u64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE shares SET sent_bytes = greatest(sent_bytes - $2, 0) WHERE share_hash = $1",
        &hash.0[..],
        i64::try_from(bytes).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of these that still lead somewhere.
pub async fn alive(
    connection: &mut PgConnection,
    hashes: &[ShareHash],
) -> sqlx::Result<Vec<ShareHash>> {
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.0.to_vec()).collect();
    let alive = sqlx::query_scalar!(
        "SELECT s.share_hash FROM shares s JOIN users u ON u.user_id = s.user_id
         WHERE s.share_hash = ANY($1) AND coalesce(s.expires_at > database_clock(), true)
           AND u.suspended_at IS NULL AND u.closed_at IS NULL
           AND (EXISTS (SELECT FROM files f WHERE f.file_id = s.file_id AND f.state = 'ready')
                OR EXISTS (SELECT FROM objects o
                           WHERE o.bucket_id = s.bucket_id AND o.key = s.key AND NOT o.is_marker
                             AND coalesce(o.expires_at > database_clock(), true)
                             AND CASE WHEN s.version_id IS NULL THEN o.is_latest
                                      ELSE o.version_id = s.version_id END))",
        &hashes,
    )
    .fetch_all(connection)
    .await?;
    let alive = alive.iter();
    alive
        .map(|hash| Ok(ShareHash(hash32("shares.share_hash", hash)?)))
        .collect()
}

/// Forgets shares whose time was up so long ago that nobody makes it longer any more.
pub async fn delete_expired(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM shares WHERE share_hash IN
             (SELECT share_hash FROM shares WHERE expires_at < database_clock() - interval '30 days' LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
