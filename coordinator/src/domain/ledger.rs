//! Double entry: transfers whose entries sum to zero, and the hashes that chain them.

use std::fmt;

use jiff::Timestamp;
use proto::{MicroCredits, NodeId};
use uuid::Uuid;

use super::ids::{TransferId, UserId};

/// An account, named by its owner and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub owner: Uuid,
    pub kind: AccountKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    UserAvailable,
    UserUploadHold,
    UserEscrow,
    NodeHeld,
    NodeAvailable,
    PlatformIncome,
    PlatformPenalties,
    PlatformRounding,
    /// The world beyond: purchases come from here, payouts go there.
    PlatformOutside,
}

impl AccountKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::UserAvailable | Self::NodeAvailable => "available",
            Self::UserUploadHold => "upload_hold",
            Self::UserEscrow => "escrow",
            Self::NodeHeld => "held",
            Self::PlatformIncome => "income",
            Self::PlatformPenalties => "penalties",
            Self::PlatformRounding => "rounding",
            Self::PlatformOutside => "outside",
        }
    }

    /// Platform balances are kept by the sealer, and may be negative.
    pub fn is_platform(self) -> bool {
        matches!(
            self,
            Self::PlatformIncome
                | Self::PlatformPenalties
                | Self::PlatformRounding
                | Self::PlatformOutside
        )
    }
}

impl Account {
    pub const INCOME: Self = Self::platform(AccountKind::PlatformIncome);
    pub const PENALTIES: Self = Self::platform(AccountKind::PlatformPenalties);
    pub const ROUNDING: Self = Self::platform(AccountKind::PlatformRounding);
    pub const OUTSIDE: Self = Self::platform(AccountKind::PlatformOutside);

    const fn platform(kind: AccountKind) -> Self {
        Self {
            owner: Uuid::nil(),
            kind,
        }
    }

    pub fn available(user: UserId) -> Self {
        Self {
            owner: user.as_uuid(),
            kind: AccountKind::UserAvailable,
        }
    }

    pub fn upload_hold(user: UserId) -> Self {
        Self {
            owner: user.as_uuid(),
            kind: AccountKind::UserUploadHold,
        }
    }

    pub fn escrow(user: UserId) -> Self {
        Self {
            owner: user.as_uuid(),
            kind: AccountKind::UserEscrow,
        }
    }

    pub fn node_held(node: NodeId) -> Self {
        Self {
            owner: node.as_uuid(),
            kind: AccountKind::NodeHeld,
        }
    }

    pub fn node_available(node: NodeId) -> Self {
        Self {
            owner: node.as_uuid(),
            kind: AccountKind::NodeAvailable,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.kind.name())
    }
}

/// Why a transfer happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// outside → available
    Purchase,
    /// income → available: what a new account may try the network with
    Trial,
    /// available → upload hold, when an upload begins or grows
    Hold,
    /// upload hold → escrow, and what was held too much back to available
    Charge,
    /// upload hold → available, when an upload is given up
    Release,
    /// escrow → income, once a day, for the use of a user's files
    Use,
    /// available → escrow: another month of a file
    Renew,
    /// escrow → income for the time a file was kept, and the rest back to available
    Delete,
    /// The same for a file that was not paid for any longer.
    Expire,
    /// income → held and available of a node, and penalties from there, once a day
    Earn,
    /// A node's available → outside
    Payout,
    /// outside → a node's available, when the provider would not pay out
    PayoutRefused,
}

impl TransferKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Trial => "trial",
            Self::Hold => "hold",
            Self::Charge => "charge",
            Self::Release => "release",
            Self::Use => "use",
            Self::Renew => "renew",
            Self::Delete => "delete",
            Self::Expire => "expire",
            Self::Earn => "earn",
            Self::Payout => "payout",
            Self::PayoutRefused => "payout_refused",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnbalancedTransfer {
    #[error("a transfer needs at least two entries")]
    TooFewEntries,
    #[error("the entries of a transfer must sum to zero")]
    NotZero,
}

/// A transfer that may be posted: its entries sum to zero, each account stands in it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub kind: TransferKind,
    /// Posting twice under one key posts once.
    pub idempotency_key: String,
    pub at: Timestamp,
    /// JSON text, kept and hashed as it is written here.
    pub cause: String,
    entries: Vec<(Account, MicroCredits)>,
}

impl Transfer {
    /// Entries of zero are left out. `None` when nothing is left to move.
    pub fn new(
        id: TransferId,
        kind: TransferKind,
        idempotency_key: String,
        at: Timestamp,
        cause: &serde_json::Value,
        entries: impl IntoIterator<Item = (Account, MicroCredits)>,
    ) -> Result<Option<Self>, UnbalancedTransfer> {
        let mut entries: Vec<_> = entries
            .into_iter()
            .filter(|(_, amount)| *amount != MicroCredits::ZERO)
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        if entries.len() < 2 {
            return Err(UnbalancedTransfer::TooFewEntries);
        }
        let sum = MicroCredits::checked_sum(entries.iter().map(|(_, amount)| *amount));
        if sum != Some(MicroCredits::ZERO) {
            return Err(UnbalancedTransfer::NotZero);
        }
        entries.sort_by_key(|(account, _)| (account.owner, account.kind.name()));
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Ok(Some(Self {
            id,
            kind,
            idempotency_key,
            at,
            cause: cause.to_string(),
            entries,
        }))
    }

    /// In order of account.
    pub fn entries(&self) -> &[(Account, MicroCredits)] {
        &self.entries
    }

    pub fn hash(&self) -> Hash {
        let entries = self.entries.iter();
        transfer_hash(
            self.id,
            self.kind.name(),
            &self.idempotency_key,
            self.at,
            &self.cause,
            entries.map(|(account, amount)| (account.owner, account.kind.name(), *amount)),
        )
    }
}

pub type Hash = [u8; 32];

/// dk("fsn ledger transfer v1", id[16] ‖ sized(kind) ‖ sized(key) ‖ at:u64 ms ‖ sized(cause) ‖
/// n × (owner[16] ‖ sized(account) ‖ amount:i64)), entries in order of owner and account;
/// sized(x) = length:u32 ‖ x, integers little-endian. Takes plain fields, so that a verifier can
/// hash what it reads from the tables.
pub fn transfer_hash<'a>(
    id: TransferId,
    kind: &str,
    idempotency_key: &str,
    at: Timestamp,
    cause: &str,
    entries: impl Iterator<Item = (Uuid, &'a str, MicroCredits)>,
) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("fsn ledger transfer v1");
    let sized = |text: &str, hasher: &mut blake3::Hasher| {
        hasher.update(&(text.len() as u32).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    hasher.update(id.as_bytes());
    sized(kind, &mut hasher);
    sized(idempotency_key, &mut hasher);
    hasher.update(&at.as_millisecond().to_le_bytes());
    sized(cause, &mut hasher);
    for (owner, account, amount) in entries {
        hasher.update(owner.as_bytes());
        sized(account, &mut hasher);
        hasher.update(&amount.get().to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// dk("fsn ledger block v1", previous hash ‖ block number:u64 ‖ transfer hashes in order of id).
/// The first block's previous hash is all zeros.
pub fn block_hash(previous: &Hash, number: u64, transfers: impl Iterator<Item = Hash>) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("fsn ledger block v1");
    hasher.update(previous);
    hasher.update(&number.to_le_bytes());
    for hash in transfers {
        hasher.update(&hash);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn transfer(amounts: &[(Account, i64)]) -> Result<Option<Transfer>, UnbalancedTransfer> {
        Transfer::new(
            TransferId::from_uuid(Uuid::from_u128(1)),
            TransferKind::Purchase,
            "key".into(),
            Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
            &json!({"amount_usd": "10.00"}),
            amounts
                .iter()
                .map(|(account, amount)| (*account, MicroCredits::new(*amount))),
        )
    }

    fn user() -> UserId {
        UserId::from_uuid(Uuid::from_u128(2))
    }

    #[test]
    fn a_transfer_that_does_not_sum_to_zero_cannot_be_made() {
        let entries = [(Account::OUTSIDE, -5), (Account::available(user()), 4)];
        assert_eq!(transfer(&entries), Err(UnbalancedTransfer::NotZero));
        assert_eq!(
            transfer(&[(Account::OUTSIDE, 5)]),
            Err(UnbalancedTransfer::TooFewEntries)
        );
        assert_eq!(transfer(&[(Account::OUTSIDE, 0)]), Ok(None));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_in_which_entries_are_named() {
        let (a, b) = ((Account::OUTSIDE, -5), (Account::available(user()), 5));
        let hash = |entries: &[_]| transfer(entries).unwrap().unwrap().hash();
        assert_eq!(hash(&[a, b]), hash(&[b, a]));
    }

    #[test]
    fn ledger_hashes_stay_as_they_are() {
        let entries = [(Account::OUTSIDE, -5), (Account::available(user()), 5)];
        let hash = transfer(&entries).unwrap().unwrap().hash();
        let block = block_hash(&[0; 32], 1, [hash].into_iter());
        insta::assert_snapshot!(format!("{}\n{}", hex::encode(hash), hex::encode(block)));
    }
}
