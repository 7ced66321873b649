//! `files`, by whose they are.

use proto::FileId;
use sqlx::PgConnection;

use model::ids::{UploadId, UserId};

/// Whose a complete file is.
pub async fn of(connection: &mut PgConnection, id: FileId) -> sqlx::Result<Option<UserId>> {
    let owner = sqlx::query_scalar!(
        "SELECT user_id FROM files WHERE file_id = $1 AND state = 'ready'",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(owner.map(UserId::from_uuid))
}

/// Some complete files of a user that are listed by themselves.
pub async fn some_of(
    connection: &mut PgConnection,
    user: UserId,
    limit: i64,
) -> sqlx::Result<Vec<FileId>> {
    let ids = sqlx::query_scalar!(
        "SELECT file_id FROM files WHERE user_id = $1 AND state = 'ready' AND role = 'file' ORDER BY file_id LIMIT $2",
        user.as_uuid(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(FileId::from_uuid).collect())
}

/// Uploads under way of a user.
pub async fn uploads_of(
    connection: &mut PgConnection,
    user: UserId,
    limit: i64,
) -> sqlx::Result<Vec<UploadId>> {
    let ids = sqlx::query_scalar!(
        "SELECT upload_id FROM uploads WHERE user_id = $1 AND state = 'open' ORDER BY upload_id LIMIT $2",
        user.as_uuid(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(UploadId::from_uuid).collect())
}
