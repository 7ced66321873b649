//! `refresh_tokens`: hashed, rotated, a family for each login.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use model::ids::UserId;
use model::user::Role;

/// A token as it was found, and locked, by its hash.
#[derive(Debug, Clone)]
pub struct StoredToken {
    pub family: Uuid,
    pub user_id: UserId,
    pub role: Role,
    pub used: bool,
    pub expired: bool,
}

pub async fn insert(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    family: Uuid,
    user_id: UserId,
    expires_at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at)
         VALUES ($1, $2, $3, $4)",
        &hash[..],
        family,
        user_id.as_uuid(),
        expires_at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Two requests with one token are told apart: the second finds it used.
pub async fn lock(
    connection: &mut PgConnection,
    hash: &[u8; 32],
) -> sqlx::Result<Option<StoredToken>> {
    let row = sqlx::query!(
        r#"SELECT t.family_id, t.user_id, u.role, t.used_at IS NOT NULL AS "used!",
                  t.expires_at < now() AS "expired!"
           FROM refresh_tokens t JOIN users u USING (user_id)
           WHERE t.token_hash = $1 FOR UPDATE OF t"#,
        &hash[..]
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(StoredToken {
            family: row.family_id,
            user_id: UserId::from_uuid(row.user_id),
            role: Role::from_name(&row.role).ok_or_else(|| corrupt("users.role", &row.role))?,
            used: row.used,
            expired: row.expired,
        })
    })
    .transpose()
}

/// Waits for whoever renews or ends the same login, until the transaction ends: a login that is ended
/// must not miss a token that is being made for it at this moment.
pub async fn lock_family(connection: &mut PgConnection, family: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"SELECT 1 AS "locked!" FROM pg_advisory_xact_lock(hashtextextended($1::text, 0))"#,
        family.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

pub async fn mark_used(connection: &mut PgConnection, hash: &[u8; 32]) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE refresh_tokens SET used_at = now() WHERE token_hash = $1",
        &hash[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a login and everything that grew out of it.
pub async fn revoke_family(connection: &mut PgConnection, family: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM refresh_tokens WHERE family_id = $1", family)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets a bounded number of tokens that nobody can use any more.
pub async fn delete_expired(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM refresh_tokens WHERE token_hash IN
             (SELECT token_hash FROM refresh_tokens WHERE expires_at < now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
