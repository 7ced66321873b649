//! What makes a file of stored chunks, however they came: its price goes to escrow and its meter begins.
//!
//! Streamed uploads, uploads in steps and files of a single chunk write different rows at different times; the books
//! of all of them are made here. Pure: whoever commits writes what this says.

use crate::bookkeeping::chart;
use jiff::Timestamp;
use ledger::Entry;
use proto::{FileId, MicroCredits};

use model::ids::UserId;
use rules::allowance::{Funds, Returned};
use rules::file_meter::{FileMeter, Priced};

/// A file that is about to become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileCommit {
    pub file_id: FileId,
    pub owner: UserId,
    pub meter: FileMeter,
    /// What was set apart for it,
    funds: Funds,
    /// and what of it was too much.
    pub returned: Returned,
}

/// Less is set apart than the file is to be paid with, or less than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{paid} cannot be paid of {} that are set apart", funds.amount)]
pub struct ExceedsFunds {
    pub funds: Funds,
    pub paid: MicroCredits,
}

impl FileCommit {
    /// A file that is paid for with `paid` of these funds from `at` on.
    pub fn new(
        file_id: FileId,
        owner: UserId,
        file: Priced,
        (paid, funds): (MicroCredits, Funds),
        at: Timestamp,
    ) -> Result<Self, ExceedsFunds> {
        let surplus = funds.amount.checked_sub(paid);
        let surplus = surplus
            .filter(|surplus| !surplus.is_negative() && !paid.is_negative())
            .ok_or(ExceedsFunds { funds, paid })?;
        let returned = funds.give_back(surplus);
        let trial = funds.trial.checked_sub(returned.trial);
        let meter = FileMeter {
            billed_bytes: file.billed_bytes(),
            scheme: file.scheme,
            price: file.price,
            since: at,
            paid,
            trial: trial.ok_or(ExceedsFunds { funds, paid })?,
        };
        Ok(Self {
            file_id,
            owner,
            meter,
            funds,
            returned,
        })
    }

    /// The price leaves what was held for the upload; what was held too much goes back to whom it came from.
    pub fn charge_hold(&self) -> [Entry; 4] {
        [
            (chart::upload_hold(self.owner), -self.funds.amount),
            (chart::escrow(self.owner), self.meter.paid),
            (chart::available(self.owner), self.returned.own),
            (chart::INCOME, self.returned.trial),
        ]
    }

    /// Only trial credit was held, if any: the rest of the price leaves what the owner has.
    pub fn charge_available(&self) -> [Entry; 3] {
        let FileMeter { paid, trial, .. } = self.meter;
        let own = paid.checked_sub(trial).unwrap_or_default(); // a part of it
        [
            (chart::available(self.owner), -own),
            (chart::upload_hold(self.owner), -trial),
            (chart::escrow(self.owner), paid),
        ]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use model::money::PricePerGbMonth;
    use model::scheme::Scheme;
    use model::terms::Terms;

    fn commit(paid: i64, held: i64, trial: i64) -> Result<FileCommit, ExceedsFunds> {
        let file = Priced {
            size_bytes: 1_000_000_000,
            terms: Terms::Content,
            scheme: Scheme::copies(3),
            price: PricePerGbMonth::from_microcredits(1_250_000),
        };
        assert_eq!(file.month(), Ok(MicroCredits::new(3_750_000)));
        let (id, owner) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (id, owner) = (FileId::from_uuid(id), UserId::from_uuid(owner));
        let funds = Funds {
            amount: MicroCredits::new(held),
            trial: MicroCredits::new(trial),
        };
        let paid = (MicroCredits::new(paid), funds);
        FileCommit::new(id, owner, file, paid, Timestamp::UNIX_EPOCH)
    }

    fn amounts(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|(_, amount)| amount.get()).collect()
    }

    #[test]
    fn whatever_was_held_is_divided_without_a_rest() {
        for (held, trial, own_back, trial_back) in [
            (3_750_000, 0, 0, 0),
            (4_000_000, 0, 250_000, 0),
            (4_000_000, 100_000, 250_000, 0),
            (4_000_000, 3_900_000, 100_000, 150_000),
            (4_000_000, 4_000_000, 0, 250_000),
        ] {
            let commit = commit(3_750_000, held, trial).unwrap();
            let expected = [-held, 3_750_000, own_back, trial_back];
            assert_eq!(amounts(&commit.charge_hold()), expected);
            assert_eq!(commit.meter.trial.get(), trial - trial_back);
        }
    }

    #[test]
    fn what_the_trial_does_not_cover_leaves_what_the_owner_has() {
        let commit = commit(5, 5, 2).unwrap();
        assert_eq!(amounts(&commit.charge_available()), [-3, -2, 5]);
    }

    #[test]
    fn no_more_is_paid_than_was_set_apart() {
        for paid in [5, -1, i64::MIN, i64::MAX] {
            assert!(commit(paid, 4, 0).is_err(), "{paid}");
        }
    }
}
