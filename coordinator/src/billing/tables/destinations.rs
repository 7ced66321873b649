//! `payout_destinations`: whom the provider pays for a user's nodes.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::UserId;

#[derive(Debug, Clone, Serialize)]
pub struct PayoutDestination {
    pub id: Uuid,
    pub provider: String,
    pub country: Option<String>,
    /// The provider's name for it, once it has answered.
    pub account: Option<String>,
    pub ready: bool,
}

/// Sets it, in place of any that was there.
pub async fn put(
    connection: &mut PgConnection,
    user: UserId,
    new: &PayoutDestination,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO payout_destinations (user_id, destination_id, provider, country) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET destination_id = excluded.destination_id,
             provider = excluded.provider, country = excluded.country, account = NULL, ready = false,
             created_at = now()",
        user.as_uuid(),
        new.id,
        new.provider,
        new.country,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn of_user(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<PayoutDestination>> {
    sqlx::query_as!(
        PayoutDestination,
        "SELECT destination_id AS id, provider, country, account, ready
         FROM payout_destinations WHERE user_id = $1",
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// What the provider says of it. Nothing when the user has set another one meanwhile.
pub async fn learn(
    connection: &mut PgConnection,
    id: Uuid,
    account: &str,
    ready: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payout_destinations SET account = $2, ready = $3 WHERE destination_id = $1",
        id,
        account,
        ready,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `false` when there was none.
pub async fn delete(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM payout_destinations WHERE user_id = $1",
        user.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}
