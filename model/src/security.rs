//! What the security log tells: kinds of events, and how they ended.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::ids::UserId;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What somebody did, or tried.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    Registered = "registered",
    Login = "login",
    /// A session was ended, by its owner or by a logout.
    SessionEnded = "session-ended",
    /// A refresh token came back: it was stolen, or its answer was lost for too long.
    TokenReused = "refresh-token-reused",
    PasswordChanged = "password-changed",
    /// By the token of a letter or of an administrator's link.
    PasswordReset = "password-reset",
    AddressVerified = "address-verified",
    SecondFactorChanged = "second-factor-changed",
    /// What an administrator decided about an account, or its owner who closed it.
    AccountDecision = "account-decision",
    AccessKeyMade = "access-key-made",
    AccessKeyRevoked = "access-key-revoked",
    /// Only where it was refused: each use is a line of the request log.
    AccessKeyUsed = "access-key-used",
    RoleChanged = "role-changed",
    Purchase = "purchase",
    Payout = "payout",
    FileDeleted = "file-deleted",
    /// A link was made that lets others read.
    ShareMade = "share-made",
    ShareEnded = "share-ended",
    NodeTokenMade = "node-token-made",
    NodeAdmitted = "node-admitted",
    /// A command of `coordinator` that an operator gave.
    AdminCommand = "admin-command",
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    Refused,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// An event as it is told later. Words are kept as words: a newer release may know more of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub outcome: String,
    pub user: Option<UserId>,
    pub actor: Option<String>,
    pub address: Option<IpAddr>,
    pub subject: Option<String>,
    pub request_id: Option<String>,
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), EventKind::ALL.len());
    }
}
