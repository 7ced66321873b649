//! `tus_uploads`.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::UploadId;

/// How far a session has come.
#[derive(Debug, Clone)]
pub struct Progress {
    pub metadata: String,
    /// On nodes, from the first on.
    pub chunks: u32,
    /// What lies behind them, sealed; empty when there is nothing.
    pub tail: Vec<u8>,
}

pub async fn insert(
    connection: &mut PgConnection,
    id: UploadId,
    metadata: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO tus_uploads (upload_id, metadata) VALUES ($1, $2)",
        id.as_uuid(),
        metadata
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn progress(
    connection: &mut PgConnection,
    id: UploadId,
) -> sqlx::Result<Option<Progress>> {
    let row = sqlx::query!(
        "SELECT metadata, chunks, tail FROM tus_uploads WHERE upload_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Progress {
        metadata: row.metadata,
        chunks: row.chunks.unsigned_abs(),
        tail: row.tail,
    }))
}

/// `false` while somebody else appends to it.
pub async fn take(
    connection: &mut PgConnection,
    id: UploadId,
    holder: Uuid,
    time: Duration,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE tus_uploads SET holder = $2, held_until = database_clock() + make_interval(secs => $3)
         WHERE upload_id = $1 AND (holder IS NULL OR held_until < database_clock())",
        id.as_uuid(),
        holder,
        time.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when it was released since, or somebody else has taken it.
pub async fn renew(
    connection: &mut PgConnection,
    id: UploadId,
    holder: Uuid,
    time: Duration,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE tus_uploads SET held_until = database_clock() + make_interval(secs => $3)
         WHERE upload_id = $1 AND holder = $2",
        id.as_uuid(),
        holder,
        time.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when somebody else has taken it.
pub async fn advance(
    connection: &mut PgConnection,
    id: UploadId,
    holder: Uuid,
    chunks: u32,
    tail: &[u8],
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE tus_uploads SET chunks = $3, tail = $4 WHERE upload_id = $1 AND holder = $2",
        id.as_uuid(),
        holder,
        chunks.cast_signed(),
        tail,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn release(
    connection: &mut PgConnection,
    id: UploadId,
    holder: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE tus_uploads SET holder = NULL, held_until = NULL WHERE upload_id = $1 AND holder = $2",
        id.as_uuid(),
        holder,
    )
    .execute(connection)
    .await?;
    Ok(())
}
