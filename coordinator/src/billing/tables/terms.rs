//! `billing_terms`: from when on new files are sold under which terms. And how a file's row keeps its own.

use jiff::Timestamp;
use model::terms::Terms;
use sqlx::PgConnection;

/// From when on names and a least size are billed. Never changes.
pub async fn content_and_name_since(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let since = sqlx::query_scalar!(
        r#"SELECT since AS "since: jiff_sqlx::Timestamp" FROM billing_terms
           WHERE terms = 'content_and_name'"#
    )
    .fetch_one(connection)
    .await?;
    Ok(since.to_jiff())
}

/// As `files.billed_name_bytes` keeps them.
pub fn of_row(billed_name_bytes: Option<i32>) -> Terms {
    Terms::from_name_bytes(billed_name_bytes.map(i32::unsigned_abs))
}
