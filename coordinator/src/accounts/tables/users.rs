//! `users`.

use jiff::Timestamp;
use proto::MicroCredits;
use sqlx::PgConnection;

use crate::database::corrupt;
use model::ids::UserId;
use model::names::Email;
use model::node_state::NetworkPrefix;
use model::user::{Role, User};

/// `false` when the address is taken.
pub async fn insert(
    connection: &mut PgConnection,
    id: UserId,
    email: &Email,
    password_hash: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO users (user_id, email, password_hash) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        id.as_uuid(),
        email.as_str(),
        password_hash,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn by_id(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<User>> {
    let row = sqlx::query!(
        "SELECT user_id, email, role, created_at FROM users WHERE user_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(User {
            id: UserId::from_uuid(row.user_id),
            email: row.email,
            role: role(&row.role)?,
            created_at: row.created_at.to_jiff(),
        })
    })
    .transpose()
}

/// Who has this address, and the hash of their password.
pub async fn credentials(
    connection: &mut PgConnection,
    email: &str,
) -> sqlx::Result<Option<(UserId, Role, String)>> {
    let row = sqlx::query!(
        "SELECT user_id, role, password_hash FROM users WHERE lower(email) = lower($1)",
        email
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let id = UserId::from_uuid(row.user_id);
        Ok((id, role(&row.role)?, row.password_hash))
    })
    .transpose()
}

/// Counts one more account that was opened from this network today; how many there are.
pub async fn count_registration(
    connection: &mut PgConnection,
    network: NetworkPrefix,
) -> sqlx::Result<u32> {
    let accounts = sqlx::query_scalar!(
        "INSERT INTO registrations (network, day, accounts)
         VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1)
         ON CONFLICT (network, day) DO UPDATE SET accounts = registrations.accounts + 1
         RETURNING accounts",
        &network.as_bytes()[..],
    )
    .fetch_one(connection)
    .await?;
    Ok(accounts.unsigned_abs())
}

/// Forgets from where accounts were opened before today.
pub async fn delete_old_registrations(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM registrations WHERE (network, day) IN
             (SELECT network, day FROM registrations
              WHERE day < (now() AT TIME ZONE 'UTC')::date LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// The account has to buy before it can store.
pub async fn deny_trial(connection: &mut PgConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET has_trial = false WHERE user_id = $1",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Trial credit that was not used up: the account may use it again. Locks the user's row.
pub async fn return_trial(
    connection: &mut PgConnection,
    id: UserId,
    amount: MicroCredits,
) -> sqlx::Result<()> {
    if !amount.is_positive() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE users SET trial_used_microcredits = greatest(trial_used_microcredits - $2, 0)
         WHERE user_id = $1",
        id.as_uuid(),
        amount.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the account's row tells of a purchase; `None` of nobody.
pub async fn has_bought(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<bool>> {
    let query = sqlx::query_scalar!(
        "SELECT has_bought FROM users WHERE user_id = $1",
        id.as_uuid()
    );
    query.fetch_optional(connection).await
}

/// The account has bought. Locks the user's row the first time.
pub async fn mark_bought(connection: &mut PgConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET has_bought = true WHERE user_id = $1 AND NOT has_bought",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the user's row. Returns up to when the use of the user's files was charged.
pub async fn remove_file(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Timestamp> {
    let charged_until = sqlx::query_scalar!(
        r#"UPDATE users SET file_count = file_count - 1 WHERE user_id = $1
           RETURNING coalesce(charged_until, 'epoch') AS "charged_until!: jiff_sqlx::Timestamp""#,
        id.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(charged_until.to_jiff())
}

/// `false` when nobody has this address.
pub async fn set_role(
    connection: &mut PgConnection,
    email: &str,
    role: Role,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET role = $2 WHERE lower(email) = lower($1)",
        email,
        role.name()
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

fn role(name: &str) -> sqlx::Result<Role> {
    Role::from_name(name).ok_or_else(|| corrupt("users.role", name))
}
