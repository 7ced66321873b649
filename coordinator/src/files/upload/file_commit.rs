//! What makes a file of stored chunks, however they came: its price goes to escrow and its meter begins.
//!
//! Streamed uploads, uploads in steps and files of a single chunk write different rows at different times; the books
//! of all of them are made here. Pure: whoever commits writes what this says.

use crate::bookkeeping::chart;
use jiff::Timestamp;
use ledger::{Entry, ExceedsHold};
use proto::{FileId, MicroCredits};

use model::ids::UserId;
use model::money::{AmountTooLarge, PricePerGbMonth};
use model::scheme::Scheme;
use rules::file_meter::FileMeter;

/// A file that is about to become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileCommit {
    pub file_id: FileId,
    pub owner: UserId,
    pub meter: FileMeter,
}

/// What a file is, as far as its price goes.
#[derive(Debug, Clone, Copy)]
pub struct Priced {
    pub size_bytes: u64,
    pub scheme: Scheme,
    pub price: PricePerGbMonth,
}

impl Priced {
    /// The first month.
    pub fn cost(&self) -> Result<MicroCredits, AmountTooLarge> {
        self.price.first_month(self.size_bytes, self.scheme)
    }
}

impl FileCommit {
    /// A file that is paid for with `paid` from `at` on.
    pub const fn new(
        file_id: FileId,
        owner: UserId,
        file: Priced,
        paid: MicroCredits,
        at: Timestamp,
    ) -> Self {
        let meter = FileMeter {
            size_bytes: file.size_bytes,
            scheme: file.scheme,
            price: file.price,
            since: at,
            paid,
        };
        Self {
            file_id,
            owner,
            meter,
        }
    }

    /// The price leaves what was held for the upload; what was held too much goes back.
    pub fn charge_hold(&self, held: MicroCredits) -> Result<[Entry; 3], ExceedsHold> {
        let hold = chart::held_for_upload(self.owner, held);
        hold.capture_last(self.meter.paid, chart::escrow(self.owner))
    }

    /// Nothing was held: the price leaves what the owner has.
    pub fn charge_available(&self) -> [Entry; 2] {
        [
            (chart::available(self.owner), -self.meter.paid),
            (chart::escrow(self.owner), self.meter.paid),
        ]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn commit(paid: i64) -> FileCommit {
        let file = Priced {
            size_bytes: 1_000_000_000,
            scheme: Scheme::copies(3),
            price: PricePerGbMonth::from_microcredits(1_250_000),
        };
        assert_eq!(file.cost(), Ok(MicroCredits::new(3_750_000)));
        let (id, owner) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (id, owner) = (FileId::from_uuid(id), UserId::from_uuid(owner));
        FileCommit::new(
            id,
            owner,
            file,
            MicroCredits::new(paid),
            Timestamp::UNIX_EPOCH,
        )
    }

    fn sum(entries: &[Entry]) -> MicroCredits {
        MicroCredits::checked_sum(entries.iter().map(|(_, amount)| *amount)).unwrap()
    }

    #[test]
    fn whatever_was_held_is_divided_without_a_rest() {
        for held in [3_750_000, 4_000_000] {
            let entries = commit(3_750_000)
                .charge_hold(MicroCredits::new(held))
                .unwrap();
            assert_eq!(sum(&entries), MicroCredits::ZERO);
            assert_eq!(entries[1].1, MicroCredits::new(3_750_000));
            assert_eq!(entries[2].1, MicroCredits::new(held - 3_750_000));
        }
        assert_eq!(sum(&commit(5).charge_available()), MicroCredits::ZERO);
        assert!(commit(5).charge_hold(MicroCredits::new(4)).is_err());
    }
}
