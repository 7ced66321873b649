//! `users`, as far as it says who is suspended or closed.

use jiff::Timestamp;
use sqlx::PgConnection;

use crate::database::corrupt;
use model::ids::UserId;
use model::user::Role;

/// Whether an account may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Why it is suspended.
    pub suspended: Option<String>,
    pub is_closed: bool,
}

pub async fn of(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<Standing>> {
    let row = sqlx::query!(
        r#"SELECT suspended_reason, closed_at IS NOT NULL AS "is_closed!" FROM users WHERE user_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Standing {
        suspended: row.suspended_reason,
        is_closed: row.is_closed,
    }))
}

/// `false` when it is suspended already, or closed. Locks the user's row.
pub async fn suspend(
    connection: &mut PgConnection,
    id: UserId,
    reason: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET suspended_at = now(), suspended_reason = $2
         WHERE user_id = $1 AND suspended_at IS NULL AND closed_at IS NULL",
        id.as_uuid(),
        reason,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a suspension, or only one for this reason; `false` when there is none. Locks the user's row.
pub async fn unsuspend(
    connection: &mut PgConnection,
    id: UserId,
    only_for: Option<&str>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET suspended_at = NULL, suspended_reason = NULL
         WHERE user_id = $1 AND suspended_at IS NOT NULL AND closed_at IS NULL
           AND ($2::text IS NULL OR suspended_reason = $2)",
        id.as_uuid(),
        only_for,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// An account as administrators see it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub id: UserId,
    pub email: String,
    pub role: Role,
    pub created_at: Timestamp,
    /// Since when, and why.
    pub suspended: Option<(Timestamp, String)>,
    pub closed_at: Option<Timestamp>,
    /// Uploads under way included.
    pub files: u64,
    pub has_bought: bool,
    pub node_quota: Option<u32>,
}

struct Row {
    user_id: uuid::Uuid,
    email: String,
    role: String,
    created_at: jiff_sqlx::Timestamp,
    suspended_at: Option<jiff_sqlx::Timestamp>,
    suspended_reason: Option<String>,
    closed_at: Option<jiff_sqlx::Timestamp>,
    file_count: i64,
    has_bought: bool,
    node_quota: Option<i32>,
}

impl TryFrom<Row> for Listed {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let at = |at: jiff_sqlx::Timestamp| at.to_jiff();
        Ok(Self {
            id: UserId::from_uuid(row.user_id),
            role: Role::from_name(&row.role).ok_or_else(|| corrupt("users.role", &row.role))?,
            email: row.email,
            created_at: at(row.created_at),
            suspended: row.suspended_at.map(at).zip(row.suspended_reason),
            closed_at: row.closed_at.map(at),
            files: row.file_count.unsigned_abs(),
            has_bought: row.has_bought,
            node_quota: row.node_quota.map(i32::unsigned_abs),
        })
    }
}

/// In order of their ids, which is that of their opening.
pub async fn list(
    connection: &mut PgConnection,
    after: Option<UserId>,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT user_id, email, role, created_at, suspended_at, suspended_reason, closed_at, file_count,
                has_bought, node_quota
         FROM users WHERE $1::uuid IS NULL OR user_id > $1 ORDER BY user_id LIMIT $2",
        after.map(|after| after.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Listed::try_from).collect()
}

pub async fn one(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<Listed>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT user_id, email, role, created_at, suspended_at, suspended_reason, closed_at, file_count,
                has_bought, node_quota
         FROM users WHERE user_id = $1",
        id.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Listed::try_from).transpose()
}
