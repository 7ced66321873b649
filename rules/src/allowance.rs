//! What a user may still spend while several of their uploads are decided together, and what comes back of it.
//!
//! Trial credit is a loan of the network's: it is set apart for a file, pays for it, and what is not used up of it goes
//! back to the network. It never becomes the user's own, which may one day be worth money.

use model::upload::Upload;
use proto::MicroCredits;

/// As the locked rows tell, less what was spent since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub available: MicroCredits,
    /// What an account that cannot pay may still try the network with.
    pub trial: MicroCredits,
    /// How many more there may be.
    pub files: u64,
    pub file_limit: FileLimit,
}

/// How many files the account may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    pub files: u64,
    /// More may be had after the first purchase.
    pub on_trial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TooManyFiles(FileLimit),
    TooLittleCredit { available: MicroCredits },
}

impl Allowance {
    /// Takes the price of one file; returns what had to come from the trial allowance.
    pub fn spend(&mut self, cost: MicroCredits) -> Result<MicroCredits, Refusal> {
        let files = self
            .files
            .checked_sub(1)
            .ok_or(Refusal::TooManyFiles(self.file_limit))?;
        let refused = Refusal::TooLittleCredit {
            available: self.available,
        };
        let left = self.available.checked_sub(cost).ok_or(refused)?;
        let trial = if left.is_negative() {
            -left
        } else {
            MicroCredits::ZERO
        };
        let trial_left = self.trial.checked_sub(trial).ok_or(refused)?;
        if trial_left.is_negative() {
            return Err(refused);
        }
        *self = Self {
            available: left.checked_add(trial).ok_or(refused)?,
            trial: trial_left,
            files,
            file_limit: self.file_limit,
        };
        Ok(trial)
    }
}

/// Credits that were set apart for a file, and how much of them is trial credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    pub amount: MicroCredits,
    pub trial: MicroCredits,
}

/// To whom something of the funds goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// The owner, who had it `available`.
    pub own: MicroCredits,
    /// The network, which had lent it.
    pub trial: MicroCredits,
}

impl Funds {
    /// What is held for an upload.
    pub const fn held_for(upload: &Upload) -> Self {
        Self {
            amount: upload.hold,
            trial: upload.trial,
        }
    }

    /// Divides what comes back of them, between nothing and all. The trial is used up first: what is the owner's own
    /// comes back before it.
    pub fn give_back(self, back: MicroCredits) -> Returned {
        let own = self.amount.checked_sub(self.trial).unwrap_or_default();
        let own = own.min(back);
        Returned {
            own,
            trial: back.checked_sub(own).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: FileLimit = FileLimit {
        files: 9,
        on_trial: true,
    };

    fn allowance(available: i64, trial: i64, files: u64) -> Allowance {
        Allowance {
            available: MicroCredits::new(available),
            trial: MicroCredits::new(trial),
            files,
            file_limit: LIMIT,
        }
    }

    #[test]
    fn credits_go_first_and_the_trial_covers_what_is_missing() {
        let mut allowance = allowance(10, 7, 9);
        assert_eq!(
            allowance.spend(MicroCredits::new(6)),
            Ok(MicroCredits::ZERO)
        );
        assert_eq!(
            allowance.spend(MicroCredits::new(6)),
            Ok(MicroCredits::new(2))
        );
        assert_eq!(allowance, self::allowance(0, 5, 7));
        let available = MicroCredits::ZERO;
        let refused = Err(Refusal::TooLittleCredit { available });
        assert_eq!(allowance.spend(MicroCredits::new(6)), refused);
        assert_eq!(
            allowance,
            self::allowance(0, 5, 7),
            "a refusal takes nothing"
        );
        assert_eq!(
            allowance.spend(MicroCredits::new(5)),
            Ok(MicroCredits::new(5))
        );
    }

    #[test]
    fn the_number_of_files_is_limited_whatever_they_cost() {
        let mut allowance = allowance(10, 0, 1);
        assert_eq!(allowance.spend(MicroCredits::ZERO), Ok(MicroCredits::ZERO));
        assert_eq!(
            allowance.spend(MicroCredits::ZERO),
            Err(Refusal::TooManyFiles(LIMIT))
        );
    }

    proptest! {
        #[test]
        fn what_comes_back_is_divided_without_a_rest_and_no_trial_becomes_the_owners(
            own in 0i64..1 << 40, trial in 0i64..1 << 40, part in 0.0f64..=1.0,
        ) {
            let funds = Funds { amount: MicroCredits::new(own + trial), trial: MicroCredits::new(trial) };
            let back = MicroCredits::new(((own + trial) as f64 * part) as i64);
            let returned = funds.give_back(back);
            prop_assert_eq!(returned.own.get() + returned.trial.get(), back.get());
            prop_assert!((0..=own).contains(&returned.own.get()));
            prop_assert!((0..=trial).contains(&returned.trial.get()));
        }

        #[test]
        fn whatever_is_spent_credits_and_trial_together_pay_exactly_that(
            available in 0i64..1000, trial in 0i64..1000, costs in prop::collection::vec(0i64..300, 0..20),
        ) {
            let mut now = allowance(available, trial, 100);
            let mut spent = 0;
            for cost in costs {
                let before = now;
                match now.spend(MicroCredits::new(cost)) {
                    Ok(lent) => {
                        spent += cost;
                        prop_assert!(lent.get() == 0 || now.available == MicroCredits::ZERO);
                    }
                    Err(_) => prop_assert_eq!(now, before),
                }
                prop_assert!(!now.available.is_negative() && !now.trial.is_negative());
                prop_assert_eq!(now.available.get() + now.trial.get() + spent, available + trial);
            }
        }
    }
}
