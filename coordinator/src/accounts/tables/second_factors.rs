//! `second_factors`, `recovery_codes` and `login_challenges`. Secrets stand in `wrapped_secrets`.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgConnection;

use model::ids::UserId;

/// An authenticator app.
#[derive(Debug, Clone, Copy)]
pub struct App {
    pub confirmed_at: Option<Timestamp>,
    pub last_step: Option<i64>,
    /// Wrong codes within the window.
    pub failures: u32,
}

pub async fn app(
    connection: &mut PgConnection,
    user: UserId,
    window: Duration,
) -> sqlx::Result<Option<App>> {
    let row = sqlx::query!(
        r#"SELECT confirmed_at, last_step,
                  CASE WHEN failures_since > now() - make_interval(secs => $2) THEN failures ELSE 0 END AS "failures!"
           FROM second_factors WHERE user_id = $1"#,
        user.as_uuid(),
        window.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| App {
        confirmed_at: row.confirmed_at.map(jiff_sqlx::Timestamp::to_jiff),
        last_step: row.last_step,
        failures: row.failures.unsigned_abs(),
    }))
}

/// Enters an app that has not shown a code yet, in the place of another such one. `false` when there is one that has.
pub async fn enter(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO second_factors (user_id) VALUES ($1)
         ON CONFLICT (user_id) DO UPDATE SET created_at = now(), last_step = NULL
         WHERE second_factors.confirmed_at IS NULL",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Takes a code of this step: `false` when it, or a later one, was taken before. From here on the account is asked for one.
pub async fn take_step(
    connection: &mut PgConnection,
    user: UserId,
    step: i64,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE second_factors SET last_step = $2, failures = 0, confirmed_at = coalesce(confirmed_at, now())
         WHERE user_id = $1 AND (last_step IS NULL OR last_step < $2)",
        user.as_uuid(),
        step,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn count_failure(
    connection: &mut PgConnection,
    user: UserId,
    window: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE second_factors SET
             failures = CASE WHEN failures_since > now() - make_interval(secs => $2) THEN failures + 1 ELSE 1 END,
             failures_since = CASE WHEN failures_since > now() - make_interval(secs => $2) THEN failures_since
                                   ELSE now() END
         WHERE user_id = $1",
        user.as_uuid(),
        window.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `false` when there was none. Logins that wait wait no more.
pub async fn remove(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "WITH logins AS (DELETE FROM login_challenges WHERE user_id = $1)
         DELETE FROM second_factors WHERE user_id = $1",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Takes recovery codes away where there is nothing more that they stand in for.
pub async fn forget_idle_codes(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM recovery_codes WHERE user_id = $1
           AND NOT EXISTS (SELECT FROM passkeys WHERE user_id = $1)
           AND NOT EXISTS (SELECT FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// In the place of all that there were.
pub async fn replace_codes(
    connection: &mut PgConnection,
    user: UserId,
    hashes: &[Vec<u8>],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM recovery_codes WHERE user_id = $1",
        user.as_uuid()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO recovery_codes (user_id, code_hash) SELECT $1, unnest($2::bytea[])",
        user.as_uuid(),
        hashes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `false` when it is none of the account's, or not any more.
pub async fn use_code(
    connection: &mut PgConnection,
    user: UserId,
    hash: &[u8; 32],
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2",
        user.as_uuid(),
        &hash[..],
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn codes_left(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    let left = sqlx::query_scalar!(
        r#"SELECT count(*) AS "left!" FROM recovery_codes WHERE user_id = $1"#,
        user.as_uuid(),
    )
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(left).unwrap_or(u32::MAX))
}

/// Begins a login that waits for a second factor, beside so many others of the account.
pub async fn challenge(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    user: UserId,
    (good_for, others): (Duration, i64),
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM login_challenges WHERE token_hash IN
             (SELECT token_hash FROM login_challenges WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)",
        user.as_uuid(),
        others,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO login_challenges (token_hash, user_id, expires_at)
         VALUES ($1, $2, now() + make_interval(secs => $3))",
        &hash[..],
        user.as_uuid(),
        good_for.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts a try, and tells whose login it is. `None` when it has expired, or was tried `most` times.
pub async fn try_challenge(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    most: i32,
) -> sqlx::Result<Option<UserId>> {
    let user = sqlx::query_scalar!(
        "UPDATE login_challenges SET tries = tries + 1
         WHERE token_hash = $1 AND tries < $2 AND expires_at > now() RETURNING user_id",
        &hash[..],
        most,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user.map(UserId::from_uuid))
}

/// Whose login waits under this token.
pub async fn waits_for(
    connection: &mut PgConnection,
    hash: &[u8; 32],
) -> sqlx::Result<Option<UserId>> {
    let user = sqlx::query_scalar!(
        "SELECT user_id FROM login_challenges WHERE token_hash = $1 AND expires_at > now()",
        &hash[..],
    )
    .fetch_optional(connection)
    .await?;
    Ok(user.map(UserId::from_uuid))
}

/// `false` when somebody else has ended it.
pub async fn end_challenge(connection: &mut PgConnection, hash: &[u8; 32]) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM login_challenges WHERE token_hash = $1",
        &hash[..]
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Whatever waits for a second factor: the password has changed meanwhile.
pub async fn end_challenges_of(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM login_challenges WHERE user_id = $1",
        user.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn delete_expired(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM login_challenges WHERE token_hash IN
             (SELECT token_hash FROM login_challenges WHERE expires_at < now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
