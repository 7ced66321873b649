//! What a user may still spend while several of their uploads are decided together.

use proto::MicroCredits;

/// As the locked rows tell, less what was spent since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub available: MicroCredits,
    /// What an account that cannot pay may still try the network with.
    pub trial: MicroCredits,
    pub files: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TooManyFiles,
    TooLittleCredit { available: MicroCredits },
}

impl Allowance {
    /// Takes the price of one file; returns what had to come from the trial allowance.
    pub fn spend(&mut self, cost: MicroCredits) -> Result<MicroCredits, Refusal> {
        let files = self.files.checked_sub(1).ok_or(Refusal::TooManyFiles)?;
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
        };
        Ok(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(available: i64, trial: i64, files: u64) -> Allowance {
        Allowance {
            available: MicroCredits::new(available),
            trial: MicroCredits::new(trial),
            files,
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
            Err(Refusal::TooManyFiles)
        );
    }
}
