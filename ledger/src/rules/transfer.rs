//! Double entry: a movement of credits becomes a transfer, whose entries sum to zero and never change.

use jiff::Timestamp;
use proto::MicroCredits;

use super::{Account, Hash, transfer_hash};

proto::uuid_id! {
    /// One entry set of the ledger. Version 7: ids sort by time.
    TransferId, "transfer id"
}

/// Why a transfer happens, in small letters and underscores, 40 at most. Whoever posts one names it; no
/// list of them is kept, for nothing here depends on what a transfer is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransferKind(&'static str);

impl TransferKind {
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// What an account gains, or loses where the amount is negative.
pub type Entry = (Account, MicroCredits);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransfer {
    #[error("a transfer needs at least two entries")]
    TooFewEntries,
    #[error("the entries of a transfer must sum to zero")]
    NotZero,
    #[error("an account stands in a transfer twice")]
    AccountTwice,
}

/// What is to be moved, and why.
#[derive(Debug, Clone)]
pub struct Movement<'a> {
    pub kind: TransferKind,
    /// Posting twice under one key posts once. At most 512 bytes.
    pub key: String,
    pub cause: &'a serde_json::Value,
    /// Sum to zero; entries of zero are left out.
    pub entries: &'a [Entry],
}

impl Movement<'_> {
    /// The transfer that makes this movement; `None` when there is nothing to move. The time is cut to
    /// whole milliseconds.
    pub fn transfer(
        self,
        id: TransferId,
        at: Timestamp,
    ) -> Result<Option<Transfer>, InvalidTransfer> {
        let moved = self.entries.iter().copied();
        let mut entries: Vec<Entry> = moved
            .filter(|(_, amount)| *amount != MicroCredits::ZERO)
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        if entries.len() < 2 {
            return Err(InvalidTransfer::TooFewEntries);
        }
        let sum = MicroCredits::checked_sum(entries.iter().map(|(_, amount)| *amount));
        if sum != Some(MicroCredits::ZERO) {
            return Err(InvalidTransfer::NotZero);
        }
        let place = |(account, _): &Entry| (account.owner, account.kind.name());
        entries.sort_by_key(place);
        if entries
            .windows(2)
            .any(|pair| place(&pair[0]) == place(&pair[1]))
        {
            return Err(InvalidTransfer::AccountTwice);
        }
        Ok(Some(Transfer {
            id,
            kind: self.kind,
            idempotency_key: self.key,
            at: Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at),
            cause: self.cause.to_string(),
            entries,
        }))
    }
}

/// A transfer that may be posted: its entries sum to zero, each account stands in it once. Made by
/// [`Movement::transfer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub(crate) id: TransferId,
    pub(crate) kind: TransferKind,
    pub(crate) idempotency_key: String,
    pub(crate) at: Timestamp,
    /// JSON text, kept and hashed as it is written here.
    pub(crate) cause: String,
    entries: Vec<Entry>,
}

impl Transfer {
    /// In order of account.
    pub fn entries(&self) -> &[Entry] {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::rules::{AccountKind, PLATFORM, block_hash};

    const OUTSIDE: Account = Account::new(PLATFORM, AccountKind::new("platform", "outside"));
    const AVAILABLE: AccountKind = AccountKind::new("user", "available");

    fn user() -> Account {
        Account::new(Uuid::from_u128(2), AVAILABLE)
    }

    fn transfer(amounts: &[(Account, i64)]) -> Result<Option<Transfer>, InvalidTransfer> {
        let amounts = amounts.iter();
        let entries: Vec<Entry> = amounts
            .map(|(account, amount)| (*account, MicroCredits::new(*amount)))
            .collect();
        let movement = Movement {
            kind: TransferKind::new("purchase"),
            key: "key".into(),
            cause: &json!({"amount_usd": "10.00"}),
            entries: &entries,
        };
        movement.transfer(
            TransferId::from_uuid(Uuid::from_u128(1)),
            Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
        )
    }

    #[test]
    fn a_transfer_that_does_not_sum_to_zero_cannot_be_made() {
        let entries = [(OUTSIDE, -5), (user(), 4)];
        assert_eq!(transfer(&entries), Err(InvalidTransfer::NotZero));
        assert_eq!(
            transfer(&[(OUTSIDE, 5)]),
            Err(InvalidTransfer::TooFewEntries)
        );
        assert_eq!(transfer(&[(OUTSIDE, 0)]), Ok(None));
        let wrapping = [(OUTSIDE, i64::MIN), (user(), i64::MIN)];
        assert_eq!(transfer(&wrapping), Err(InvalidTransfer::NotZero));
    }

    #[test]
    fn an_account_stands_in_a_transfer_once() {
        let entries = [(OUTSIDE, -5), (user(), 2), (user(), 3)];
        assert_eq!(transfer(&entries), Err(InvalidTransfer::AccountTwice));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_in_which_entries_are_named() {
        let (a, b) = ((OUTSIDE, -5), (user(), 5));
        let hash = |entries: &[_]| transfer(entries).unwrap().unwrap().hash();
        assert_eq!(hash(&[a, b]), hash(&[b, a]));
    }

    #[test]
    fn ledger_hashes_stay_as_they_are() {
        let entries = [(OUTSIDE, -5), (user(), 5)];
        let hash = transfer(&entries).unwrap().unwrap().hash();
        let block = block_hash(&[0; 32], 1, [hash].into_iter());
        insta::assert_snapshot!(format!("{}\n{}", hex::encode(hash), hex::encode(block)));
    }

    proptest! {
        #[test]
        fn whatever_is_moved_a_transfer_sums_to_zero_and_moves_just_that(
            amounts in prop::collection::vec((0u128..6, -3i64..=3), 0..6),
        ) {
            let account = |owner| Account::new(Uuid::from_u128(owner), AVAILABLE);
            let amounts: Vec<_> = amounts.into_iter().map(|(owner, n)| (account(owner), n)).collect();
            if let Ok(Some(made)) = transfer(&amounts) {
                let sum: i64 = made.entries().iter().map(|(_, amount)| amount.get()).sum();
                prop_assert_eq!(sum, 0);
                let mut moved: Vec<_> = amounts.into_iter().filter(|(_, n)| *n != 0).collect();
                moved.sort();
                let made = made.entries().iter().map(|(account, amount)| (*account, amount.get()));
                prop_assert_eq!(made.collect::<Vec<_>>(), moved);
            }
        }
    }
}
