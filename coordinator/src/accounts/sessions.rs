//! Sessions: logins as their owner sees them. An access token is good as long as its session is there.
//!
//! A session ends with its last refresh token; the database sees to that, and tells all coordinators. So whatever takes
//! tokens away, a new password or one token too many, ends what was given out with them.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accounts::access_tokens::Claimed;
use crate::accounts::principal::Principal;
use crate::accounts::session::{Device, Session, SessionState};
use crate::accounts::{Accounts, tables};
use crate::security;
use crate::security::{Event, EventKind};
use model::ids::{SessionId, UserId};

/// When a session was seen last is written this often at most.
const NOTED_EVERY: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum SessionRefused {
    #[error("the login of this access token has ended: log in with POST /api/v1/auth/login")]
    Ended,
    #[error("the account is suspended: {0}")]
    Suspended(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Whom a token speaks for that was signed here.
pub async fn principal(
    accounts: &Accounts,
    claimed: Claimed,
    from: IpAddr,
) -> Result<Principal, SessionRefused> {
    let now = accounts.clock.now();
    let session = find(accounts, claimed.session_id, now).await?;
    let session =
        session.filter(|session| session.user_id == claimed.user_id && session.expires_at > now);
    let session = session.ok_or(SessionRefused::Ended)?;
    if let Some(reason) = &session.suspended {
        return Err(SessionRefused::Suspended(reason.clone()));
    }
    if session.last_seen.begin_to_note(now, NOTED_EVERY) {
        note_seen(accounts, session.id, from).await;
    }
    Ok(Principal::of_login(
        session.user_id,
        session.role,
        session.id,
    ))
}

async fn find(
    accounts: &Accounts,
    id: SessionId,
    now: Timestamp,
) -> sqlx::Result<Option<Arc<SessionState>>> {
    let known = &accounts.known.sessions;
    if let Some(session) = known.get(id, now) {
        return Ok(Some(session));
    }
    let asked = known.asks();
    let session = {
        let mut connection = accounts.db.acquire().await?;
        tables::sessions::find(&mut connection, id).await?
    };
    let session = session.map(Arc::new);
    if let Some(session) = &session {
        known.learn(asked, id, session.user_id, Arc::clone(session), now);
    }
    Ok(session)
}

/// Nobody is refused because it could not be written.
async fn note_seen(accounts: &Accounts, id: SessionId, from: IpAddr) {
    let noted = async {
        let mut connection = accounts.db.acquire().await?;
        tables::sessions::note_seen(&mut connection, id, from).await
    };
    if let Err(error) = noted.await {
        tracing::debug!(%error, "when a session was seen was not noted");
    }
}

/// The session of this family of tokens, which it gets where it has none yet. `None` when its time is over.
pub(super) async fn of_family(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
    family: Uuid,
    device: &Device,
) -> sqlx::Result<Option<(SessionId, Timestamp)>> {
    let now = accounts.clock.now();
    let ttl = SignedDuration::try_from(accounts.config.session_ttl);
    let expires_at = now.saturating_add(ttl.unwrap_or(SignedDuration::MAX));
    let new = tables::sessions::NewSession {
        id: SessionId::from_uuid(accounts.entropy.uuid_v7(now)),
        family,
        user,
        expires_at: expires_at.unwrap_or(Timestamp::MAX),
    };
    let (id, expires_at) = tables::sessions::insert_or_renew(connection, &new, device).await?;
    Ok((expires_at > now).then_some((id, expires_at)))
}

/// All of an account, the one that was used last first. Their number is bounded.
pub async fn list(accounts: &Accounts, user: UserId) -> sqlx::Result<Vec<Session>> {
    let mut connection = accounts.db.acquire().await?;
    tables::sessions::of_user(&mut connection, user, accounts.clock.now()).await
}

/// Ends one; harmless when it is not there any more.
pub async fn end(accounts: &Accounts, user: UserId, id: SessionId) -> sqlx::Result<()> {
    let mut transaction = accounts.db.begin().await?;
    let family = tables::sessions::family_of(&mut transaction, user, id).await?;
    let Some(family) = family else {
        return Ok(());
    };
    end_families(&mut transaction, &[family]).await?;
    let ended = id.to_string();
    let event = Event::done(EventKind::SessionEnded, user).of(&ended);
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    accounts.known.changed(user);
    Ok(())
}

/// Ends all but this one.
pub async fn end_others(accounts: &Accounts, user: UserId, but: SessionId) -> sqlx::Result<()> {
    let mut transaction = accounts.db.begin().await?;
    let families = tables::sessions::families_but(&mut transaction, user, but).await?;
    end_families(&mut transaction, &families).await?;
    let event = Event::done(EventKind::SessionEnded, user).of("all but the one that asked");
    security::count(&mut transaction, event, accounts.clock.now()).await?;
    transaction.commit().await?;
    accounts.known.changed(user);
    tracing::info!(user_id = %user, "all sessions of an account but one have ended");
    Ok(())
}

/// Ends all logins of an account, or all but this one. None begins until the transaction ends.
pub(super) async fn end_all_but(
    connection: &mut PgConnection,
    user: UserId,
    but: SessionId,
) -> sqlx::Result<()> {
    tables::refresh_tokens::lock_family(connection, user.as_uuid()).await?;
    let families = tables::sessions::families_but(connection, user, but).await?;
    end_families(connection, &families).await
}

/// Ends all logins of an account.
pub async fn end_all(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    let families = tables::refresh_tokens::beyond_latest(connection, user, 0).await?;
    end_families(connection, &families).await
}

/// Twice: the first time waits for whoever renews one at this moment, the second takes what came of that.
pub(super) async fn end_families(
    connection: &mut PgConnection,
    families: &[Uuid],
) -> sqlx::Result<()> {
    if families.is_empty() {
        return Ok(());
    }
    for _ in 0..2 {
        tables::refresh_tokens::revoke_families(connection, families).await?;
    }
    tables::sessions::delete_families(connection, families).await
}
