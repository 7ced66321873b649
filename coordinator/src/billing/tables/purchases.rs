//! `purchase_days`: how often each account bought today.

use sqlx::PgConnection;

use model::ids::UserId;

/// Counts one more purchase of this user today; how many there are. Those of one user wait for each other.
pub async fn count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u32> {
    let purchases = sqlx::query_scalar!(
        "INSERT INTO purchase_days (user_id, day, purchases)
         VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1)
         ON CONFLICT (user_id, day) DO UPDATE SET purchases = purchase_days.purchases + 1
         RETURNING purchases",
        user.as_uuid(),
    )
    .fetch_one(connection)
    .await?;
    Ok(purchases.unsigned_abs())
}

/// Forgets who bought before today.
pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM purchase_days WHERE (user_id, day) IN
             (SELECT user_id, day FROM purchase_days
              WHERE day < (now() AT TIME ZONE 'UTC')::date LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
