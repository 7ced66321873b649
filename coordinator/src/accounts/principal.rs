//! Who a request speaks for, and what he may do with it.
//!
//! Whoever has logged in may do all that his account may. A key may do what its scopes say, in its bucket; passwords,
//! logins and other keys are no affair of it, so that nobody makes a stronger key of a weaker one.

use credentials::access_key::AccessKeyId;
use credentials::scope::{Scope, Scopes};
use model::ids::{SessionId, UserId};
use model::user::Role;

use super::session::OwnSession;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub user_id: UserId,
    pub role: Role,
    pub rights: Rights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    Login(SessionId),
    Key(KeyRights),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRights {
    pub id: AccessKeyId,
    pub scopes: Scopes,
    /// It is for one bucket, and not for files that lie in none.
    pub in_bucket: bool,
    /// There is an end to what may be sent, fetched and spent with it in a day.
    pub capped: bool,
}

/// What a key may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error("the access key {key} may not {scope}: it was made without that scope")]
    Scope { key: AccessKeyId, scope: Scope },
    #[error("the access key {key} is for one bucket, and this lies outside of it")]
    OutsideOfBucket { key: AccessKeyId },
    #[error("passwords, logins and access keys are not changed with an access key: log in for it")]
    NeedsLogin,
}

impl Principal {
    pub const fn of_login(user_id: UserId, role: Role, session: SessionId) -> Self {
        Self {
            user_id,
            role,
            rights: Rights::Login(session),
        }
    }

    /// Whether this may be done with what belongs to the account and lies in no bucket.
    pub fn check(&self, scope: Scope) -> Result<(), NotAllowed> {
        let Rights::Key(KeyRights {
            id: key,
            scopes,
            in_bucket,
            ..
        }) = self.rights
        else {
            return Ok(());
        };
        if !scopes.contains(scope) {
            return Err(NotAllowed::Scope { key, scope });
        }
        match in_bucket {
            true => Err(NotAllowed::OutsideOfBucket { key }),
            false => Ok(()),
        }
    }

    /// The session, of whoever has logged in.
    pub const fn session(&self) -> Option<SessionId> {
        match self.rights {
            Rights::Login(session) => Some(session),
            Rights::Key(_) => None,
        }
    }

    /// Whether there is an end to what may be used in a day.
    pub const fn is_capped(&self) -> bool {
        matches!(self.rights, Rights::Key(KeyRights { capped: true, .. }))
    }

    /// The session that this is asked from, which a key has none of.
    pub fn own_session(&self) -> Result<OwnSession, NotAllowed> {
        let session = self.session().ok_or(NotAllowed::NeedsLogin)?;
        Ok(OwnSession {
            user: self.user_id,
            session,
        })
    }

    pub fn check_login(&self) -> Result<(), NotAllowed> {
        match self.rights {
            Rights::Login(_) => Ok(()),
            Rights::Key(_) => Err(NotAllowed::NeedsLogin),
        }
    }
}
