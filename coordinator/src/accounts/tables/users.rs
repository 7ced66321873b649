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

/// Takes `amount` from what the account may still try the network with; `false` if that is less.
pub async fn use_trial(
    connection: &mut PgConnection,
    id: UserId,
    amount: MicroCredits,
    limit: MicroCredits,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET trial_used_microcredits = trial_used_microcredits + $2
         WHERE user_id = $1 AND has_trial AND trial_used_microcredits + $2 <= $3",
        id.as_uuid(),
        amount.get(),
        limit.get(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Counts one more file of this user; `false` when they have `limit` already.
pub async fn add_file(connection: &mut PgConnection, id: UserId, limit: u64) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET file_count = file_count + 1 WHERE user_id = $1 AND file_count < $2",
        id.as_uuid(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
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

/// What an account may have of nodes.
#[derive(Debug, Clone, Copy)]
pub struct NodeRight {
    pub user_id: UserId,
    pub role: Role,
    /// `None` when no administrator has said anything.
    pub quota: Option<u32>,
}

/// The row is locked until the transaction ends, so that of several questions at once each sees what came of the others.
pub async fn lock_node_right(
    connection: &mut PgConnection,
    id: UserId,
) -> sqlx::Result<Option<NodeRight>> {
    let row = sqlx::query!(
        "SELECT role, node_quota FROM users WHERE user_id = $1 FOR NO KEY UPDATE",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(NodeRight {
            user_id: id,
            role: role(&row.role)?,
            quota: row.node_quota.map(i32::unsigned_abs),
        })
    })
    .transpose()
}

pub async fn node_right_of(
    connection: &mut PgConnection,
    email: &str,
) -> sqlx::Result<Option<NodeRight>> {
    let row = sqlx::query!(
        "SELECT user_id, role, node_quota FROM users WHERE lower(email) = lower($1)",
        email
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(NodeRight {
            user_id: UserId::from_uuid(row.user_id),
            role: role(&row.role)?,
            quota: row.node_quota.map(i32::unsigned_abs),
        })
    })
    .transpose()
}

/// `false` when nobody has this address.
pub async fn set_node_quota(
    connection: &mut PgConnection,
    email: &str,
    quota: u32,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET node_quota = $2 WHERE lower(email) = lower($1)",
        email,
        i32::try_from(quota).unwrap_or(i32::MAX),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

fn role(name: &str) -> sqlx::Result<Role> {
    Role::from_name(name).ok_or_else(|| corrupt("users.role", name))
}
