//! Holds: credits that their owner sets apart before it is known what something will cost. They are captured
//! in parts or at once, and what is left is released.
//!
//! A hold is two accounts and an amount; what it says of each step are the entries of the transfer that makes
//! it. Each step is of a kind and under a key of its own, so that one purpose's transfers can be told from
//! another's. Rejected: a table of holds beside the accounts, which would say twice what an account holds.

use proto::MicroCredits;

use super::{Account, Entry};

/// More was to be captured than is held, or less than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} cannot be captured of {held} held")]
pub struct ExceedsHold {
    pub held: MicroCredits,
    pub asked: MicroCredits,
}

/// Credits held back: on `held`, until they are captured or return to `owner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    owner: Account,
    held: Account,
    amount: MicroCredits,
}

impl Hold {
    /// A hold as it stands: of nothing, before it is raised for the first time.
    pub const fn new(owner: Account, held: Account, amount: MicroCredits) -> Self {
        Self {
            owner,
            held,
            amount,
        }
    }

    pub const fn amount(&self) -> MicroCredits {
        self.amount
    }

    /// Raises it to `target`; `None` when it is as high already.
    pub fn raise(&mut self, target: MicroCredits) -> Option<[Entry; 2]> {
        let more = target.checked_sub(self.amount)?;
        if !more.is_positive() {
            return None;
        }
        self.amount = target;
        Some([(self.owner, -more), (self.held, more)])
    }

    /// Captures a part. The rest stays held.
    pub fn capture(&mut self, part: MicroCredits, to: Account) -> Result<[Entry; 2], ExceedsHold> {
        self.amount = self.rest(part)?;
        Ok([(self.held, -part), (to, part)])
    }

    /// Captures a part for the last time, and releases the rest.
    pub fn capture_last(self, part: MicroCredits, to: Account) -> Result<[Entry; 3], ExceedsHold> {
        let rest = self.rest(part)?;
        Ok([(self.held, -self.amount), (to, part), (self.owner, rest)])
    }

    /// Gives back all that is held.
    pub fn release(self) -> [Entry; 2] {
        [(self.held, -self.amount), (self.owner, self.amount)]
    }

    fn rest(&self, part: MicroCredits) -> Result<MicroCredits, ExceedsHold> {
        let rest = self.amount.checked_sub(part);
        rest.filter(|rest| !part.is_negative() && !rest.is_negative())
            .ok_or(ExceedsHold {
                held: self.amount,
                asked: part,
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::rules::AccountKind;

    fn account(name: &'static str) -> Account {
        Account::new(Uuid::from_u128(1), AccountKind::new("user", name))
    }

    fn hold(amount: i64) -> Hold {
        let (owner, held) = (account("available"), account("upload_hold"));
        Hold::new(owner, held, MicroCredits::new(amount))
    }

    fn amounts(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|(_, amount)| amount.get()).collect()
    }

    #[test]
    fn a_hold_is_captured_in_parts_and_its_rest_comes_back() {
        let (escrow, credits) = (account("escrow"), MicroCredits::new);
        let mut hold = hold(0);
        assert_eq!(amounts(&hold.raise(credits(10)).unwrap()), [-10, 10]);
        assert_eq!(hold.raise(credits(10)), None);
        assert_eq!(amounts(&hold.capture(credits(3), escrow).unwrap()), [-3, 3]);
        assert_eq!(hold.amount(), credits(7));
        let last = hold.capture_last(credits(5), escrow);
        assert_eq!(amounts(&last.unwrap()), [-7, 5, 2]);
        assert_eq!(amounts(&hold.release()), [-7, 7]);
    }

    #[test]
    fn no_more_is_captured_than_is_held() {
        for asked in [-1, 11, i64::MIN, i64::MAX] {
            let (asked, mut hold) = (MicroCredits::new(asked), hold(10));
            let held = hold.amount();
            let refused = ExceedsHold { held, asked };
            assert_eq!(hold.capture(asked, account("escrow")), Err(refused));
            assert_eq!(hold.capture_last(asked, account("escrow")), Err(refused));
            assert_eq!(hold.amount(), held);
        }
    }

    proptest! {
        #[test]
        fn what_is_held_was_set_apart_and_not_captured(
            steps in prop::collection::vec((any::<bool>(), 0i64..100), 0..30),
            last in 0i64..100,
        ) {
            let mut hold = hold(0);
            let mut balances: BTreeMap<Account, i64> = BTreeMap::new();
            let mut post = |entries: &[Entry]| {
                for (account, amount) in entries {
                    *balances.entry(*account).or_default() += amount.get();
                }
                let held = balances.get(&account("upload_hold")).copied();
                (held.unwrap_or(0), balances.values().sum::<i64>())
            };
            for (raise, amount) in steps {
                let amount = MicroCredits::new(amount);
                let entries = match raise {
                    true => hold.raise(amount),
                    false => hold.capture(amount, account("escrow")).ok(),
                };
                let entries = entries.map_or(Vec::new(), |entries| entries.to_vec());
                prop_assert_eq!(post(&entries), (hold.amount().get(), 0));
            }
            let entries = match hold.capture_last(MicroCredits::new(last), account("escrow")) {
                Ok(entries) => entries.to_vec(),
                Err(_) => hold.release().to_vec(),
            };
            prop_assert_eq!(post(&entries), (0, 0));
        }
    }
}
