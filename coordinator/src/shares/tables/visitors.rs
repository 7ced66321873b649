//! `share_visitors`. Who asks has locked the share.

use std::time::Duration;

use credentials::share::ShareHash;
use sqlx::PgConnection;

/// Whether one of these has been here lately.
pub async fn knows(
    connection: &mut PgConnection,
    share: ShareHash,
    visitors: &[Vec<u8>],
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM share_visitors
                          WHERE share_hash = $1 AND visitor = ANY($2) AND until > database_clock()) AS "knows!""#,
        &share.0[..],
        visitors,
    )
    .fetch_one(connection)
    .await
}

/// Remembers them for so long, while there are fewer than `most` of this share.
pub async fn remember(
    connection: &mut PgConnection,
    share: ShareHash,
    visitors: &[Vec<u8>],
    time: Duration,
    most: u64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO share_visitors (share_hash, visitor, until)
         SELECT $1, visitor, database_clock() + make_interval(secs => $3)
         FROM unnest($2::bytea[]) AS v (visitor)
         WHERE (SELECT count(*) FROM share_visitors WHERE share_hash = $1) < $4
         ON CONFLICT (share_hash, visitor) DO UPDATE SET until = excluded.until",
        &share.0[..],
        visitors,
        time.as_secs_f64(),
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM share_visitors WHERE (share_hash, visitor) IN
             (SELECT share_hash, visitor FROM share_visitors WHERE until < database_clock() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
