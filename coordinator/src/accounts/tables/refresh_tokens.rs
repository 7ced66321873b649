//! `refresh_tokens`: hashed, rotated, a family for each login. Of each family there are two rows at most that this
//! release has made: the token that is good, and the one before.

use std::time::Duration;

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
    /// Why its owner may do nothing.
    pub suspended: Option<String>,
    pub used: bool,
    /// How long ago, in seconds.
    used_ago: f64,
    pub expired: bool,
}

impl StoredToken {
    pub fn used_within(&self, time: Duration) -> bool {
        self.used && self.used_ago <= time.as_secs_f64()
    }
}

/// One that is there already, because an answer is given again, stays as it is.
pub async fn insert(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    family: Uuid,
    user_id: UserId,
    expires_at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at, names_login)
         VALUES ($1, $2, $3, $4, true) ON CONFLICT (token_hash) DO NOTHING",
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
                  CASE WHEN u.suspended_at IS NOT NULL THEN coalesce(u.suspended_reason, '') END AS suspended,
                  coalesce(extract(epoch FROM now() - t.used_at), 0)::float8 AS "used_ago!",
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
            suspended: row.suspended,
            used: row.used,
            used_ago: row.used_ago,
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

/// Ends a login and everything that grew out of it. How many tokens there were.
pub async fn revoke_family(connection: &mut PgConnection, family: Uuid) -> sqlx::Result<u64> {
    let result = sqlx::query!("DELETE FROM refresh_tokens WHERE family_id = $1", family)
        .execute(connection)
        .await?;
    Ok(result.rows_affected())
}

/// As [`revoke_family`], of several.
pub async fn revoke_families(connection: &mut PgConnection, families: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM refresh_tokens WHERE family_id = ANY($1)",
        families
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the used tokens of a login but this one: those that name their login are recognised without.
pub async fn forget_used(
    connection: &mut PgConnection,
    family: Uuid,
    but: &[u8; 32],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM refresh_tokens
         WHERE family_id = $1 AND used_at IS NOT NULL AND names_login AND token_hash <> $2",
        family,
        &but[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All logins of a user but so many, those whose tokens are the newest. Logins of one user wait for each other from here
/// on, until the transaction ends.
pub async fn beyond_latest(
    connection: &mut PgConnection,
    user: UserId,
    logins: u32,
) -> sqlx::Result<Vec<Uuid>> {
    lock_family(connection, user.as_uuid()).await?;
    let query = sqlx::query_scalar!(
        "SELECT family_id FROM refresh_tokens WHERE user_id = $1
         GROUP BY family_id ORDER BY max(created_at) DESC, family_id DESC OFFSET $2",
        user.as_uuid(),
        i64::from(logins),
    );
    query.fetch_all(connection).await
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
