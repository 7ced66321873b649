//! Accounts, and the kinds that there are of them.
//!
//! A kind is a row of the table `account_kinds`, which also says whether its balances may be negative: the
//! database is the one place that knows. Rejected: an enum, which every crate above that opens an account
//! of its own would have to extend here, together with a CHECK that a migration would make again.

use std::fmt;

use uuid::Uuid;

/// The owner of the accounts that nearly every transfer touches. Posting does not lock them: the sealer
/// carries their balances forward, block by block.
pub const PLATFORM: Uuid = Uuid::nil();

/// What an account is for, and what kind of owner has one: a row of `account_kinds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKind {
    owner_kind: &'static str,
    name: &'static str,
}

impl AccountKind {
    /// Both of small letters and underscores, 40 at most.
    pub const fn new(owner_kind: &'static str, name: &'static str) -> Self {
        Self { owner_kind, name }
    }

    pub const fn owner_kind(self) -> &'static str {
        self.owner_kind
    }

    /// Tells the accounts of one owner apart.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// An account, named by its owner and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub owner: Uuid,
    pub kind: AccountKind,
}

impl Account {
    pub const fn new(owner: Uuid, kind: AccountKind) -> Self {
        Self { owner, kind }
    }

    /// The sealer's, and not locked by posting: see [`PLATFORM`].
    pub const fn is_platform(self) -> bool {
        self.owner.is_nil()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.kind.name)
    }
}
