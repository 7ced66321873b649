//! Suspended accounts: nobody can log in or renew a login; files stay.
//!
//! Looked at after the password was right, so that nobody else learns of it.

use kit::{Clock, Entropy};
use sqlx::PgConnection;

use super::decisions::{self, Decision};
use super::sessions;
use super::tables::standing;
use model::ids::UserId;

use crate::database::Pool;

#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    #[error("the account is suspended already, or closed")]
    AlreadySuspended,
    #[error("the account is not suspended")]
    NotSuspended,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// From this moment on no login begins or goes on, on any coordinator.
pub async fn suspend(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> Result<(), SuspendError> {
    let mut transaction = db.begin().await?;
    if !standing::suspend(&mut transaction, user, reason).await? {
        return Err(SuspendError::AlreadySuspended);
    }
    let decision = Decision::new(user, decisions::SUSPENDED, reason);
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await?;
    Ok(())
}

/// Logins that had not run out go on.
pub async fn unsuspend(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> Result<(), SuspendError> {
    let mut transaction = db.begin().await?;
    if !standing::unsuspend(&mut transaction, user, None).await? {
        return Err(SuspendError::NotSuspended);
    }
    let decision = Decision::new(user, decisions::UNSUSPENDED, reason);
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends all logins of an account; access keys stay.
pub async fn end_sessions(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> sqlx::Result<()> {
    let mut transaction = db.begin().await?;
    sessions::end_all(&mut transaction, user).await?;
    let decision = Decision::new(user, decisions::SESSIONS_ENDED, reason);
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await
}

/// Whether an account may be used by who has shown that it is his.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Open,
    /// Closed, or never there.
    Gone,
    Suspended {
        reason: String,
    },
}

pub async fn look(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Verdict> {
    Ok(match standing::of(connection, user).await? {
        None => Verdict::Gone,
        Some(standing) if standing.is_closed => Verdict::Gone,
        Some(standing) => match standing.suspended {
            Some(reason) => Verdict::Suspended { reason },
            None => Verdict::Open,
        },
    })
}
