//! `account_tokens`, and what they change in `users`.

use std::time::Duration;

use sqlx::PgConnection;

use model::ids::UserId;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    ResetPassword,
    VerifyAddress,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset_password",
            Self::VerifyAddress => "verify_address",
        }
    }
}

/// Keeps a token, unless the account has got `limit` of them by mail within the last hour. `false` when it has.
pub async fn insert(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    user: UserId,
    purpose: Purpose,
    by_mail: bool,
    (good_for, limit): (Duration, i64),
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO account_tokens (token_hash, user_id, purpose, by_mail, expires_at)
         SELECT $1, $2, $3, $4, now() + make_interval(secs => $5)
         WHERE NOT $4 OR (SELECT count(*) FROM account_tokens
                          WHERE user_id = $2 AND purpose = $3 AND by_mail
                            AND created_at > now() - interval '1 hour') < $6",
        &hash[..],
        user.as_uuid(),
        purpose.name(),
        by_mail,
        good_for.as_secs_f64(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A token that has not expired.
#[derive(Debug, Clone)]
pub struct Stored {
    pub user_id: UserId,
    pub email: String,
    pub password_hash: String,
    pub used: bool,
}

pub async fn find(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    purpose: Purpose,
) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query!(
        r#"SELECT user_id, email, password_hash, used_at IS NOT NULL AS "used!"
           FROM account_tokens JOIN users USING (user_id)
           WHERE token_hash = $1 AND purpose = $2 AND expires_at > now() AND closed_at IS NULL"#,
        &hash[..],
        purpose.name(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Stored {
        user_id: UserId::from_uuid(row.user_id),
        email: row.email,
        password_hash: row.password_hash,
        used: row.used,
    }))
}

/// Uses a token up, and with it all others of the account for the same purpose. `None` when it is used or has expired.
/// Of two that use it at once the second finds it used. Returns whether it came by mail.
pub async fn use_up(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    purpose: Purpose,
) -> sqlx::Result<Option<bool>> {
    let used = sqlx::query!(
        "UPDATE account_tokens SET used_at = now()
         WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()
         RETURNING user_id, by_mail",
        &hash[..],
        purpose.name(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(used) = used else { return Ok(None) };
    sqlx::query!(
        "DELETE FROM account_tokens WHERE user_id = $1 AND purpose = $2 AND token_hash <> $3",
        used.user_id,
        purpose.name(),
        &hash[..],
    )
    .execute(connection)
    .await?;
    Ok(Some(used.by_mail))
}

/// Tokens of an account that nobody has used: what they could do is over.
pub async fn forget_of(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM account_tokens WHERE user_id = $1 AND used_at IS NULL AND purpose = 'reset_password'",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn delete_expired(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM account_tokens WHERE token_hash IN
             (SELECT token_hash FROM account_tokens WHERE expires_at < now() - interval '1 hour' LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Whatever the password was.
pub async fn reset_password(
    connection: &mut PgConnection,
    user: UserId,
    hash: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2 WHERE user_id = $1",
        user.as_uuid(),
        hash,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn mark_verified(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET email_verified_at = now() WHERE user_id = $1 AND email_verified_at IS NULL",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn is_verified(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let verified = sqlx::query_scalar!(
        r#"SELECT email_verified_at IS NOT NULL AS "verified!" FROM users WHERE user_id = $1"#,
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(verified.unwrap_or(false))
}
