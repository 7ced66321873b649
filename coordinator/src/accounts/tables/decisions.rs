//! `account_decisions`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::FileId;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::UserId;

/// One decision.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    pub user: UserId,
    pub what: &'static str,
    pub file: Option<FileId>,
    pub transfer: Option<Uuid>,
    pub reason: &'a str,
}

impl<'a> Decision<'a> {
    pub fn new(user: UserId, what: &'static str, reason: &'a str) -> Self {
        Self {
            user,
            what,
            file: None,
            transfer: None,
            reason,
        }
    }
}

pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    decision: &Decision<'_>,
    at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO account_decisions (decision_id, user_id, at, decision, file_id, transfer_id, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id,
        decision.user.as_uuid(),
        at.to_sqlx() as jiff_sqlx::Timestamp,
        decision.what,
        decision.file.map(|file| file.as_uuid()),
        decision.transfer,
        decision.reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One that was made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Made {
    pub at: Timestamp,
    pub decision: String,
    pub file_id: Option<Uuid>,
    pub transfer_id: Option<Uuid>,
    pub reason: String,
}

/// About an account or a file, newest first.
pub async fn about(
    connection: &mut PgConnection,
    subject: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Made>> {
    let rows = sqlx::query!(
        "SELECT at, decision, file_id, transfer_id, reason FROM account_decisions
         WHERE user_id = $1 OR file_id = $1 ORDER BY decision_id DESC LIMIT $2",
        subject,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| Made {
        at: row.at.to_jiff(),
        decision: row.decision,
        file_id: row.file_id,
        transfer_id: row.transfer_id,
        reason: row.reason,
    });
    Ok(rows.collect())
}

/// Forgets some of those that were made 400 days ago.
pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM account_decisions WHERE decision_id IN
             (SELECT decision_id FROM account_decisions WHERE at < now() - interval '400 days' LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
