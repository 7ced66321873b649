//! `uploads`: sessions. Chunk commits, completion, abort and expiry lock the row first.

use std::time::Duration;

use jiff::Timestamp;
use proto::{FileId, MicroCredits};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use model::ids::{UploadId, UserId};
use model::upload::{Upload, UploadState};

struct Row {
    upload_id: Uuid,
    file_id: Uuid,
    user_id: Uuid,
    state: String,
    hold_microcredits: i64,
    trial_microcredits: i64,
    resent_chunks: i32,
    request_digest: Vec<u8>,
    expires_at: jiff_sqlx::Timestamp,
    expired: bool,
}

impl TryFrom<Row> for Upload {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let state = [UploadState::Open, UploadState::Completed]
            .into_iter()
            .find(|state| state.name() == row.state)
            .ok_or_else(|| corrupt("uploads.state", &row.state))?;
        Ok(Self {
            id: UploadId::from_uuid(row.upload_id),
            file_id: FileId::from_uuid(row.file_id),
            user_id: UserId::from_uuid(row.user_id),
            state,
            hold: MicroCredits::new(row.hold_microcredits),
            trial: MicroCredits::new(row.trial_microcredits),
            resent_chunks: row.resent_chunks.unsigned_abs(),
            request_digest: row.request_digest,
            expires_at: row.expires_at.to_jiff(),
            expired: row.expired,
        })
    }
}

/// A session that is about to begin; its file's row stands already.
#[derive(Debug)]
pub struct NewUpload<'a> {
    pub id: UploadId,
    pub file_id: FileId,
    pub user_id: UserId,
    pub hold: MicroCredits,
    /// The part of it that is trial credit.
    pub trial: MicroCredits,
    pub idempotency_key: Option<&'a str>,
    pub request_digest: &'a [u8; 32],
    pub ttl: Duration,
}

/// Returns when it expires.
pub async fn insert(
    connection: &mut PgConnection,
    upload: &NewUpload<'_>,
) -> sqlx::Result<Timestamp> {
    let expires_at = sqlx::query_scalar!(
        "INSERT INTO uploads (upload_id, file_id, user_id, hold_microcredits, idempotency_key,
                              request_digest, expires_at, trial_microcredits)
         VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8)
         RETURNING expires_at",
        upload.id.as_uuid(),
        upload.file_id.as_uuid(),
        upload.user_id.as_uuid(),
        upload.hold.get(),
        upload.idempotency_key,
        &upload.request_digest[..],
        upload.ttl.as_secs_f64(),
        upload.trial.get(),
    )
    .fetch_one(connection)
    .await?;
    Ok(expires_at.to_jiff())
}

/// How many sessions of a user are open; looks no further than `limit`.
pub async fn count_open(
    connection: &mut PgConnection,
    user: UserId,
    limit: u32,
) -> sqlx::Result<u32> {
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM
             (SELECT 1 FROM uploads WHERE user_id = $1 AND state = 'open' LIMIT $2) AS open"#,
        user.as_uuid(),
        i64::from(limit),
    )
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(open).unwrap_or(limit))
}

/// Lets an open session live on for `ttl` from now.
pub async fn renew(connection: &mut PgConnection, id: UploadId, ttl: Duration) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE uploads SET expires_at = now() + make_interval(secs => $2)
         WHERE upload_id = $1 AND state = 'open'",
        id.as_uuid(),
        ttl.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn by_id(
    connection: &mut PgConnection,
    id: UploadId,
    user: UserId,
) -> sqlx::Result<Option<Upload>> {
    sqlx::query_as!(
        Row,
        r#"SELECT upload_id, file_id, user_id, state, hold_microcredits, trial_microcredits, resent_chunks,
                  request_digest, expires_at,
                  expires_at < now() AS "expired!"
           FROM uploads WHERE upload_id = $1 AND user_id = $2"#,
        id.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await?
    .map(Upload::try_from)
    .transpose()
}

pub async fn by_idempotency_key(
    connection: &mut PgConnection,
    user: UserId,
    key: &str,
) -> sqlx::Result<Option<Upload>> {
    sqlx::query_as!(
        Row,
        r#"SELECT upload_id, file_id, user_id, state, hold_microcredits, trial_microcredits, resent_chunks,
                  request_digest, expires_at,
                  expires_at < now() AS "expired!"
           FROM uploads WHERE user_id = $1 AND idempotency_key = $2"#,
        user.as_uuid(),
        key,
    )
    .fetch_optional(connection)
    .await?
    .map(Upload::try_from)
    .transpose()
}

/// Waits for whoever else works on this session.
pub async fn lock(
    connection: &mut PgConnection,
    id: UploadId,
    user: UserId,
) -> sqlx::Result<Option<Upload>> {
    sqlx::query_as!(
        Row,
        r#"SELECT upload_id, file_id, user_id, state, hold_microcredits, trial_microcredits, resent_chunks,
                  request_digest, expires_at,
                  expires_at < now() AS "expired!"
           FROM uploads WHERE upload_id = $1 AND user_id = $2 FOR UPDATE"#,
        id.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await?
    .map(Upload::try_from)
    .transpose()
}

/// Locks those of the named sessions that still take chunks, and names those that somebody else
/// has locked. What stands in neither list is closed.
pub async fn lock_open(
    connection: &mut PgConnection,
    ids: &[UploadId],
) -> sqlx::Result<(Vec<UploadId>, Vec<UploadId>)> {
    let ids: Vec<Uuid> = ids.iter().map(UploadId::as_uuid).collect();
    let locked = sqlx::query_scalar!(
        "SELECT upload_id FROM uploads
         WHERE upload_id = ANY($1) AND state = 'open' AND expires_at > now()
         FOR UPDATE SKIP LOCKED",
        &ids
    )
    .fetch_all(&mut *connection)
    .await?;
    let others: Vec<Uuid> = ids.into_iter().filter(|id| !locked.contains(id)).collect();
    let busy = if others.is_empty() {
        Vec::new()
    } else {
        sqlx::query_scalar!(
            "SELECT upload_id FROM uploads
             WHERE upload_id = ANY($1) AND state = 'open' AND expires_at > now()",
            &others
        )
        .fetch_all(connection)
        .await?
    };
    let ids = |ids: Vec<Uuid>| ids.into_iter().map(UploadId::from_uuid).collect();
    Ok((ids(locked), ids(busy)))
}

/// An unfinished session whose time is up, locked; those that others work on are passed over.
pub async fn lock_one_expired(connection: &mut PgConnection) -> sqlx::Result<Option<Upload>> {
    sqlx::query_as!(
        Row,
        r#"SELECT upload_id, file_id, user_id, state, hold_microcredits, trial_microcredits, resent_chunks,
                  request_digest, expires_at,
                  true AS "expired!"
           FROM uploads WHERE state = 'open' AND expires_at < now()
           ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED"#
    )
    .fetch_optional(connection)
    .await?
    .map(Upload::try_from)
    .transpose()
}

pub async fn raise_hold(
    connection: &mut PgConnection,
    id: UploadId,
    hold: MicroCredits,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE uploads SET hold_microcredits = $2 WHERE upload_id = $1",
        id.as_uuid(),
        hold.get()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A chunk of it goes to nodes once more.
pub async fn count_resend(connection: &mut PgConnection, id: UploadId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE uploads SET resent_chunks = resent_chunks + 1 WHERE upload_id = $1",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn mark_completed(connection: &mut PgConnection, id: UploadId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE uploads SET state = 'completed', hold_microcredits = 0, trial_microcredits = 0 WHERE upload_id = $1",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Completed sessions are kept so that a repeated `complete` finds its file; not for ever.
pub async fn delete_old_completed(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM uploads WHERE upload_id IN
             (SELECT upload_id FROM uploads
              WHERE state = 'completed' AND expires_at < now() - interval '7 days' LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// How many are under way, of all users.
pub async fn count_all_open(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let open =
        sqlx::query_scalar!(r#"SELECT count(*) AS "open!" FROM uploads WHERE state = 'open'"#);
    Ok(open.fetch_one(connection).await?.unsigned_abs())
}
