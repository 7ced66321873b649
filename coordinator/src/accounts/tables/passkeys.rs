//! `passkeys`, and `passkey_challenges`: what browsers were asked.

use std::time::Duration;

use ::passkeys::Made;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::{PasskeyId, UserId};

/// One that is there.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: PasskeyId,
    pub user: UserId,
    pub credential_id: Vec<u8>,
    pub name: String,
    pub passkey: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

struct Row {
    passkey_id: Uuid,
    user_id: Uuid,
    credential_id: Vec<u8>,
    name: String,
    passkey: String,
    created_at: jiff_sqlx::Timestamp,
    last_used_at: Option<jiff_sqlx::Timestamp>,
}

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        Self {
            id: PasskeyId::from_uuid(row.passkey_id),
            user: UserId::from_uuid(row.user_id),
            credential_id: row.credential_id,
            name: row.name,
            passkey: row.passkey,
            created_at: row.created_at.to_jiff(),
            last_used_at: row.last_used_at.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

/// In the order in which they were made.
pub async fn of_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Vec<Stored>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT passkey_id, user_id, credential_id, name, passkey, created_at, last_used_at
         FROM passkeys WHERE user_id = $1 ORDER BY passkey_id",
        user.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Stored::from).collect())
}

pub async fn by_credential(
    connection: &mut PgConnection,
    credential_id: &[u8],
) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT passkey_id, user_id, credential_id, name, passkey, created_at, last_used_at
         FROM passkeys WHERE credential_id = $1",
        credential_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Stored::from))
}

/// How many a user has. Those who add one wait for each other.
pub async fn lock_count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    sqlx::query!(
        "SELECT FROM users WHERE user_id = $1 FOR UPDATE",
        user.as_uuid()
    )
    .fetch_optional(&mut *connection)
    .await?;
    count(connection, user).await
}

pub async fn count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM passkeys WHERE user_id = $1"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// `false` when somebody has this one already.
pub async fn insert(
    connection: &mut PgConnection,
    id: PasskeyId,
    user: UserId,
    made: &Made,
    name: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO passkeys (passkey_id, user_id, credential_id, name, passkey) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (credential_id) DO NOTHING",
        id.as_uuid(),
        user.as_uuid(),
        made.credential_id,
        name,
        made.passkey,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// It was shown. `false` when it is gone, or its counter has moved meanwhile.
pub async fn used(
    connection: &mut PgConnection,
    stored: &Stored,
    now_as: Option<&str>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE passkeys SET passkey = coalesce($3, passkey), last_used_at = now()
         WHERE passkey_id = $1 AND passkey = $2",
        stored.id.as_uuid(),
        stored.passkey,
        now_as,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when it is none of the user's.
pub async fn rename(
    connection: &mut PgConnection,
    user: UserId,
    id: PasskeyId,
    name: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE passkeys SET name = $3 WHERE passkey_id = $1 AND user_id = $2",
        id.as_uuid(),
        user.as_uuid(),
        name,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// `false` when it is none of the user's, or not any more.
pub async fn remove(
    connection: &mut PgConnection,
    user: UserId,
    id: PasskeyId,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM passkeys WHERE passkey_id = $1 AND user_id = $2",
        id.as_uuid(),
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// All of a user's, and what was asked for his; how many there were.
pub async fn remove_all(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "WITH asked AS (DELETE FROM passkey_challenges WHERE user_id = $1)
         DELETE FROM passkeys WHERE user_id = $1",
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// What a browser is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Make,
    Show,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Show => "show",
        }
    }
}

/// Something that a browser is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    pub user: Option<UserId>,
    pub purpose: Purpose,
    /// Who asks.
    pub network: &'a str,
    pub state: &'a str,
}

/// Keeps it, beside so many others of the same account, or of the same network where no account is named: the oldest ones
/// give way.
pub async fn ask(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    asked: &Asked<'_>,
    (good_for, others): (Duration, i64),
) -> sqlx::Result<()> {
    let user = asked.user.map(|user| user.as_uuid());
    match user {
        Some(user) => {
            sqlx::query!(
                "DELETE FROM passkey_challenges WHERE token_hash IN
                     (SELECT token_hash FROM passkey_challenges WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)",
                user,
                others,
            )
            .execute(&mut *connection)
            .await?;
        }
        None => {
            sqlx::query!(
                "DELETE FROM passkey_challenges WHERE token_hash IN
                     (SELECT token_hash FROM passkey_challenges WHERE network = $1 AND user_id IS NULL
                      ORDER BY created_at DESC OFFSET $2)",
                asked.network,
                others,
            )
            .execute(&mut *connection)
            .await?;
        }
    }
    sqlx::query!(
        "INSERT INTO passkey_challenges (token_hash, user_id, purpose, network, state, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
        &hash[..],
        user,
        asked.purpose.name(),
        asked.network,
        asked.state,
        good_for.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whose passkey was asked for, and the state; nobody has it again.
pub async fn take(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    purpose: Purpose,
) -> sqlx::Result<Option<(Option<UserId>, String)>> {
    let row = sqlx::query!(
        "DELETE FROM passkey_challenges WHERE token_hash = $1 AND purpose = $2 AND expires_at > now()
         RETURNING user_id, state",
        &hash[..],
        purpose.name(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.user_id.map(UserId::from_uuid), row.state)))
}

pub async fn delete_expired(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM passkey_challenges WHERE token_hash IN
             (SELECT token_hash FROM passkey_challenges WHERE expires_at < now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
