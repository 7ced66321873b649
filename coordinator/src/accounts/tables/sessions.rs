//! `sessions`. Each ends with its last refresh token, by a trigger.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accounts::session::{Device, Session, SessionState};
use crate::accounts::stored_key::LastUse;
use crate::database::corrupt;
use model::ids::{SessionId, UserId};
use model::user::Role;

pub struct NewSession {
    pub id: SessionId,
    pub family: Uuid,
    pub user: UserId,
    pub expires_at: Timestamp,
}

/// Which session is that of the family, and until when: this new one, unless there is one already.
pub async fn insert_or_renew(
    connection: &mut PgConnection,
    new: &NewSession,
    device: &Device,
) -> sqlx::Result<(SessionId, Timestamp)> {
    let row = sqlx::query!(
        "INSERT INTO sessions (session_id, family_id, user_id, expires_at, user_agent, address)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (family_id) DO UPDATE
         SET last_seen_at = now(), user_agent = EXCLUDED.user_agent, address = EXCLUDED.address
         RETURNING session_id, expires_at",
        new.id.as_uuid(),
        new.family,
        new.user.as_uuid(),
        new.expires_at.to_sqlx(),
        device.user_agent(),
        device.address.to_string(),
    )
    .fetch_one(connection)
    .await?;
    Ok((
        SessionId::from_uuid(row.session_id),
        row.expires_at.to_jiff(),
    ))
}

pub async fn find(
    connection: &mut PgConnection,
    id: SessionId,
) -> sqlx::Result<Option<SessionState>> {
    let row = sqlx::query!(
        r#"SELECT s.user_id, u.role, s.expires_at, s.last_seen_at,
                  CASE WHEN suspended_at IS NOT NULL THEN coalesce(suspended_reason, '') END AS suspended
           FROM sessions s JOIN users u ON (u.user_id = s.user_id) WHERE session_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(SessionState {
            id,
            user_id: UserId::from_uuid(row.user_id),
            role: Role::from_name(&row.role).ok_or_else(|| corrupt("users.role", &row.role))?,
            suspended: row.suspended,
            expires_at: row.expires_at.to_jiff(),
            last_seen: LastUse::new(Some(row.last_seen_at.to_jiff())),
        })
    })
    .transpose()
}

pub async fn note_seen(
    connection: &mut PgConnection,
    id: SessionId,
    from: IpAddr,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE sessions SET last_seen_at = now(), address = $2 WHERE session_id = $1",
        id.as_uuid(),
        from.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those whose time is not over at `now`, the one that was seen last first.
pub async fn of_user(
    connection: &mut PgConnection,
    user: UserId,
    now: Timestamp,
) -> sqlx::Result<Vec<Session>> {
    let rows = sqlx::query!(
        "SELECT session_id, created_at, last_seen_at, address, user_agent, expires_at FROM sessions
         WHERE user_id = $1 AND expires_at > $2 ORDER BY last_seen_at DESC, session_id DESC",
        user.as_uuid(),
        now.to_sqlx(),
    )
    .fetch_all(connection)
    .await?;
    let sessions = rows.into_iter().map(|row| Session {
        id: SessionId::from_uuid(row.session_id),
        created_at: row.created_at.to_jiff(),
        last_seen_at: row.last_seen_at.to_jiff(),
        address: row.address,
        user_agent: row.user_agent,
        expires_at: row.expires_at.to_jiff(),
    });
    Ok(sessions.collect())
}

pub async fn family_of(
    connection: &mut PgConnection,
    user: UserId,
    id: SessionId,
) -> sqlx::Result<Option<Uuid>> {
    let query = sqlx::query_scalar!(
        "SELECT family_id FROM sessions WHERE session_id = $1 AND user_id = $2",
        id.as_uuid(),
        user.as_uuid(),
    );
    query.fetch_optional(connection).await
}

/// The families of all logins of a user but that of this session; also of those that have no session yet.
pub async fn families_but(
    connection: &mut PgConnection,
    user: UserId,
    but: SessionId,
) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        r#"SELECT family_id AS "family_id!" FROM
               (SELECT family_id FROM sessions WHERE user_id = $1
                UNION SELECT family_id FROM refresh_tokens WHERE user_id = $1) AS families
           WHERE family_id NOT IN (SELECT family_id FROM sessions WHERE session_id = $2)"#,
        user.as_uuid(),
        but.as_uuid(),
    );
    query.fetch_all(connection).await
}

/// Sessions that have no token, for whatever reason.
pub async fn delete_families(connection: &mut PgConnection, families: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE family_id = ANY($1)", families)
        .execute(connection)
        .await?;
    Ok(())
}
