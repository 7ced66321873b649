//! Closing an account, by its owner or by an administrator.

use std::net::IpAddr;

use kit::{Clock, Entropy};

use super::Closing;
use crate::accounts::auth::{self, AuthError};
use crate::accounts::decisions::{self, Decision};
use crate::accounts::second_factor::{self, Shown};
use crate::accounts::tables::{closed, users};
use crate::billing::grants::{self, GrantError};
use crate::database::Pool;
use crate::files::ending::{self, EndError};
use crate::fleet::tables::operators;
use crate::objects::{self, ObjectError};
use crate::security::tables::events;
use model::ids::UserId;

/// Transactions that whoever closes an account waits for, of some files each; a job does the rest.
const STEPS: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error("{nodes} nodes of the account have not left the network")]
    HasNodes { nodes: u64 },
    #[error("the account is closed already")]
    Closed,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("a file or an upload cannot be ended")]
    Ending(#[from] EndError),
    #[error("what is in a bucket cannot be ended")]
    Objects(#[from] ObjectError),
    #[error("the credits cannot be forfeited")]
    Credits(#[from] GrantError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// By its owner, who shows password or passkey once more. Repeated, it does nothing.
pub async fn by_owner(
    closing: &Closing,
    user: UserId,
    owner: &Shown,
    address: IpAddr,
) -> Result<(), CloseError> {
    let by = (&closing.clock, &closing.entropy);
    if !auth::is_closed(&closing.accounts, user).await? {
        second_factor::prove_by_one(&closing.accounts, user, owner, address).await?;
        match close(&closing.db, by, user, "its owner").await {
            Ok(()) => closing.accounts.known.changed(user),
            Err(CloseError::Closed) => {}
            Err(error) => return Err(error),
        }
    }
    empty(&closing.db, by, user).await?;
    closing.files.forget_wake.wake();
    Ok(())
}

/// By an administrator. `true` when files or objects are left for the job.
pub async fn by_administrator(
    db: &Pool,
    by: (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> Result<bool, CloseError> {
    close(db, by, user, reason).await?;
    empty(db, by, user).await
}

async fn close(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> Result<(), CloseError> {
    let mut transaction = db.begin().await?;
    let nodes = operators::count_present(&mut transaction, user).await?;
    if nodes > 0 {
        return Err(CloseError::HasNodes { nodes });
    }
    let known = users::by_id(&mut transaction, user).await?;
    let known = known.ok_or(CloseError::Closed)?;
    if !closed::close(&mut transaction, user).await? {
        return Err(CloseError::Closed);
    }
    operators::part(&mut transaction, user).await?;
    second_factor::forget(&mut transaction, user).await?;
    let decision = Decision::new(user, decisions::CLOSED, reason);
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    events::forget_person(&mut transaction, user, &known.email).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends some of what a closed account stored, and takes what it has. `true` when there is more.
pub(super) async fn empty(
    db: &Pool,
    by: (&Clock, &Entropy),
    user: UserId,
) -> Result<bool, CloseError> {
    let mut more = true;
    for _ in 0..STEPS {
        let has_files = ending::end_some(db, by.1, user).await?;
        more = objects::ending::end_some(db, by.1, user).await? || has_files;
        if !more {
            break;
        }
    }
    let mut transaction = db.begin().await?;
    grants::forfeit(&mut transaction, by, user).await?;
    transaction.commit().await?;
    Ok(more)
}
