//! Locks of keys. A key that is not there has no row, so it is a number that is locked.

use sqlx::PgConnection;

/// Locks these until the transaction ends, in order, as everybody does.
pub async fn lock_keys(connection: &mut PgConnection, mut locks: Vec<i64>) -> sqlx::Result<()> {
    locks.sort_unstable();
    locks.dedup();
    // A function that is called for its effect: rows come in the order of the array.
    sqlx::query!(
        r#"SELECT count(pg_advisory_xact_lock(key)) AS "locked!" FROM unnest($1::bigint[]) AS k (key)"#,
        &locks
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
