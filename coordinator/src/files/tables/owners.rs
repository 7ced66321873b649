//! `files`, by whose they are.

use proto::{FileId, MicroCredits};
use sqlx::PgConnection;

use model::ids::{UploadId, UserId};
use model::terms::LEAST_BILLED_BYTES;

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

/// Complete files of a user, parts of uploads among them: how many there are, their bytes, and what a month of all of them
/// costs, each rounded up as `Priced::month` does.
pub async fn usage(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<(u64, u64, MicroCredits)> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "files!", coalesce(sum(size_bytes), 0)::bigint AS "bytes!",
                  coalesce(sum(ceil(replication::numeric * price_microcredits
                      * CASE WHEN data_pieces = 1 THEN billed ELSE 2 * ceil(billed::numeric / (2 * data_pieces)) END
                      / 1000000000)), 0)::bigint AS "month!"
           FROM files, LATERAL (SELECT CASE WHEN billed_name_bytes IS NULL THEN size_bytes
                                            ELSE greatest(size_bytes + billed_name_bytes, $2) END AS billed) AS terms
           WHERE user_id = $1 AND state = 'ready'"#,
        user.as_uuid(),
        LEAST_BILLED_BYTES as i64,
    )
    .fetch_one(connection)
    .await?;
    let month = MicroCredits::new(row.month);
    Ok((row.files.unsigned_abs(), row.bytes.unsigned_abs(), month))
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
