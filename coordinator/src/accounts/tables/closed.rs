//! `users` and what hangs on them, when an account is closed.

use std::time::Duration;

use sqlx::PgConnection;

use super::users::NO_PASSWORD;
use model::ids::UserId;

/// Takes from the row what says whose it was, and ends all logins. `closed:<id>` is no address, so nobody finds it by one.
/// `false` when the account is closed already.
pub async fn close(connection: &mut PgConnection, id: UserId) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"WITH logins AS (DELETE FROM refresh_tokens WHERE user_id = $1),
              sessions AS (DELETE FROM sessions WHERE user_id = $1),
              secrets AS (DELETE FROM wrapped_secrets WHERE purpose = 'access key' AND subject COLLATE "C" IN
                              (SELECT access_key_id FROM access_keys WHERE user_id = $1)),
              keys AS (DELETE FROM access_keys WHERE user_id = $1),
              letters AS (DELETE FROM account_tokens WHERE user_id = $1),
              bought AS (DELETE FROM purchase_days WHERE user_id = $1),
              paid_to AS (DELETE FROM payout_destinations WHERE user_id = $1)
         UPDATE users SET email = 'closed:' || user_id, email_form = NULL, email_form_taken = true,
                email_verified_at = NULL, password_hash = $2, role = 'user', node_quota = NULL, closed_at = now(),
                suspended_at = now(), suspended_reason = 'the account is closed'
         WHERE user_id = $1 AND closed_at IS NULL"#,
        id.as_uuid(),
        NO_PASSWORD,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Closed accounts that may still have something, longest closed first.
pub async fn to_empty(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<UserId>> {
    let ids = sqlx::query_scalar!(
        "SELECT user_id FROM users WHERE closed_at IS NOT NULL AND emptied_at IS NULL
         ORDER BY closed_at LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(UserId::from_uuid).collect())
}

/// Nothing can come to it any more once its access tokens have run out.
pub async fn mark_emptied(
    connection: &mut PgConnection,
    id: UserId,
    tokens_live: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET emptied_at = now()
         WHERE user_id = $1 AND emptied_at IS NULL AND file_count = 0
           AND closed_at < now() - make_interval(secs => $2)",
        id.as_uuid(),
        tokens_live.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
