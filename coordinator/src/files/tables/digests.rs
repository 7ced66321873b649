//! `file_digests`: how far the digests of files have come whose chunks came one by one.

use std::time::Duration;

use proto::FileId;
use sqlx::PgConnection;

use crate::database::hash32;
use model::ids::UserId;

/// Where hashing goes on.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The first chunk that is not in `state` yet.
    pub next_index: u32,
    /// The hash function's own state; `None` before the first chunk.
    pub state: Option<Vec<u8>>,
    /// Names what the chunks were; a chunk that is sent again has another version.
    versions: String,
}

/// A stored file that waits for its digest.
#[derive(Debug)]
pub struct Due {
    pub file_id: FileId,
    pub user_id: UserId,
    pub progress: Progress,
}

/// Begins, or goes on where it stood if no chunk has been sent again since.
pub async fn begin(connection: &mut PgConnection, file: FileId) -> sqlx::Result<Progress> {
    let row = sqlx::query!(
        r#"INSERT INTO file_digests AS d (file_id, versions)
           VALUES ($1, (SELECT coalesce(sum(version), 0) FROM chunks WHERE file_id = $1))
           ON CONFLICT (file_id) DO UPDATE
           SET next_index = CASE WHEN d.versions = excluded.versions THEN d.next_index ELSE 0 END,
               state = CASE WHEN d.versions = excluded.versions THEN d.state END,
               versions = excluded.versions
           RETURNING next_index, state, versions::text AS "versions!""#,
        file.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(Progress {
        next_index: row.next_index.unsigned_abs(),
        state: row.state,
        versions: row.versions,
    })
}

/// Whether the chunks are those that hashing began with.
pub async fn is_current(connection: &mut PgConnection, file: FileId) -> sqlx::Result<bool> {
    let current = sqlx::query_scalar!(
        r#"SELECT versions = (SELECT coalesce(sum(version), 0) FROM chunks WHERE file_id = $1)
                  AS "current!"
           FROM file_digests WHERE file_id = $1"#,
        file.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(current.unwrap_or(false))
}

/// Enters how far it has come, unless somebody has come further, or has begun anew.
pub async fn save(
    connection: &mut PgConnection,
    file: FileId,
    progress: &Progress,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE file_digests SET next_index = $2, state = $3
         WHERE file_id = $1 AND next_index < $2 AND versions = $4::text::numeric",
        file.as_uuid(),
        progress.next_index as i32,
        progress.state.as_deref(),
        progress.versions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has the digest computed of a file that has become visible without one, after `pause`.
pub async fn enqueue(
    connection: &mut PgConnection,
    file: FileId,
    pause: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO file_digests (file_id, not_before)
         SELECT file_id, now() + make_interval(secs => $2) FROM files
         WHERE file_id = $1 AND sha256 IS NULL
         ON CONFLICT (file_id) DO UPDATE
         SET next_index = 0, state = NULL, versions = 0, not_before = excluded.not_before",
        file.as_uuid(),
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The stored file that has waited longest, for `lease` nobody else's; those that others work on are passed over.
pub async fn take_due(connection: &mut PgConnection, lease: Duration) -> sqlx::Result<Option<Due>> {
    let row = sqlx::query!(
        r#"WITH due AS (
               SELECT d.file_id, f.user_id FROM file_digests d JOIN files f ON f.file_id = d.file_id
               WHERE f.state = 'ready' AND d.not_before <= now()
               ORDER BY d.not_before LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
           UPDATE file_digests d SET not_before = now() + make_interval(secs => $1)
           FROM due WHERE d.file_id = due.file_id
           RETURNING d.file_id, due.user_id, next_index, d.state, versions::text AS "versions!""#,
        lease.as_secs_f64()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Due {
        file_id: FileId::from_uuid(row.file_id),
        user_id: UserId::from_uuid(row.user_id),
        progress: Progress {
            next_index: row.next_index.unsigned_abs(),
            state: row.state,
            versions: row.versions,
        },
    }))
}

/// Lets others have it again, after `pause`.
pub async fn put_off(
    connection: &mut PgConnection,
    file: FileId,
    pause: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE file_digests SET not_before = now() + make_interval(secs => $2) WHERE file_id = $1",
        file.as_uuid(),
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The file has its digest. Another that stands is kept, and told.
pub async fn finish(
    connection: &mut PgConnection,
    file: FileId,
    sha256: &[u8; 32],
) -> sqlx::Result<Option<[u8; 32]>> {
    let stands = sqlx::query_scalar!(
        r#"WITH done AS (DELETE FROM file_digests WHERE file_id = $1)
           UPDATE files SET sha256 = coalesce(sha256, $2) WHERE file_id = $1
           RETURNING sha256 AS "sha256!""#,
        file.as_uuid(),
        &sha256[..],
    )
    .fetch_optional(connection)
    .await?;
    stands
        .map(|stands| hash32("files.sha256", &stands))
        .transpose()
}
