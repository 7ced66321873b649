//! `users`.

use jiff::Timestamp;
use proto::MicroCredits;
use sqlx::PgConnection;

use crate::database::corrupt;
use model::ids::UserId;
use model::names::Email;
use model::node_state::NetworkPrefix;
use model::user::{Role, User};

/// A hash that no password has.
pub(super) const NO_PASSWORD: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// `false` when the address is taken.
pub async fn insert(
    connection: &mut PgConnection,
    id: UserId,
    email: &Email,
    password_hash: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO users (user_id, email, email_form, password_hash) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        id.as_uuid(),
        email.as_str(),
        email.form(),
        password_hash,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn by_id(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<User>> {
    let row = sqlx::query!(
        "SELECT user_id, email, role, created_at FROM users WHERE user_id = $1 AND closed_at IS NULL",
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

/// Who has this address, and the hash of their password. Where two accounts of older releases differ in nothing but
/// the case of letters, the exact spelling decides, and then who came first. An account that an older coordinator has
/// opened a moment ago has no form yet.
pub async fn credentials(
    connection: &mut PgConnection,
    email: &Email,
) -> sqlx::Result<Option<(UserId, Role, String)>> {
    let row = sqlx::query!(
        "SELECT user_id, role, password_hash FROM users
         WHERE email_form = $1
            OR (lower(email) = lower($2) AND (email = $2 OR (email_form IS NULL AND NOT email_form_taken)))
         ORDER BY email = $2 DESC, email_form IS NOT NULL DESC LIMIT 1",
        email.form(),
        email.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let id = UserId::from_uuid(row.user_id);
        Ok((id, role(&row.role)?, row.password_hash))
    })
    .transpose()
}

/// Why this account may do nothing, if that is so.
pub async fn suspended(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<String>> {
    let reason = sqlx::query_scalar!(
        r#"SELECT CASE WHEN suspended_at IS NOT NULL THEN coalesce(suspended_reason, '') END AS reason
           FROM users WHERE user_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(reason.flatten())
}

/// What a user may do, and the hash of his password.
pub async fn password_of(
    connection: &mut PgConnection,
    id: UserId,
) -> sqlx::Result<Option<(Role, String)>> {
    let row = sqlx::query!(
        "SELECT role, password_hash FROM users WHERE user_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((role(&row.role)?, row.password_hash)))
        .transpose()
}

/// `false` when it is not `before` any more.
pub async fn set_password(
    connection: &mut PgConnection,
    id: UserId,
    before: &str,
    hash: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
        id.as_uuid(),
        before,
        hash,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The account is entered without one from now on.
pub async fn give_up_password(connection: &mut PgConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2 WHERE user_id = $1",
        id.as_uuid(),
        NO_PASSWORD,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn has_password(connection: &mut PgConnection, id: UserId) -> sqlx::Result<bool> {
    let known = password_of(connection, id).await?;
    Ok(known.is_some_and(|(_, hash)| hash != NO_PASSWORD))
}

/// Accounts whose address has no form yet, the oldest first.
pub async fn without_form(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<Vec<(UserId, String)>> {
    let rows = sqlx::query!(
        "SELECT user_id, email FROM users WHERE email_form IS NULL AND NOT email_form_taken
         ORDER BY user_id LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (UserId::from_uuid(row.user_id), row.email))
        .collect())
}

/// Writes these forms, each to the account that has had it longest. Returns those whose form somebody else has: they
/// are known by their exact spelling from now on.
pub async fn set_forms(
    connection: &mut PgConnection,
    forms: &[(UserId, String)],
) -> sqlx::Result<Vec<UserId>> {
    let users: Vec<uuid::Uuid> = forms.iter().map(|(user, _)| user.as_uuid()).collect();
    let texts: Vec<String> = forms.iter().map(|(_, form)| form.clone()).collect();
    sqlx::query!(
        "WITH first AS (
             SELECT DISTINCT ON (form) user_id, form
             FROM unnest($1::uuid[], $2::text[]) AS f (user_id, form)
             ORDER BY form, user_id)
         UPDATE users SET email_form = first.form FROM first
         WHERE users.user_id = first.user_id AND users.email_form IS NULL
           AND NOT EXISTS (SELECT 1 FROM users other WHERE other.email_form = first.form)",
        &users,
        &texts,
    )
    .execute(&mut *connection)
    .await?;
    let taken = sqlx::query_scalar!(
        "UPDATE users SET email_form_taken = true
         WHERE user_id = ANY($1) AND email_form IS NULL RETURNING user_id",
        &users
    )
    .fetch_all(connection)
    .await?;
    Ok(taken.into_iter().map(UserId::from_uuid).collect())
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

/// `false` when there is no such user.
pub async fn set_role(connection: &mut PgConnection, id: UserId, role: Role) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE users SET role = $2 WHERE user_id = $1",
        id.as_uuid(),
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
