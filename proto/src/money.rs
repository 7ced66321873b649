//! Amounts. 1 credit = 1,000,000 micro-credits; integers only.

use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount in micro-credits, negative where it leaves an account.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroCredits(i64);

impl MicroCredits {
    pub const ZERO: Self = Self(0);
    pub const PER_CREDIT: i64 = 1_000_000;

    pub const fn new(microcredits: i64) -> Self {
        Self(microcredits)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Adds all amounts, or `None` where 64 bits do not hold the sum.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl Neg for MicroCredits {
    type Output = Self;

    /// Saturates at the one value without a positive counterpart, which no account can reach.
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// In credits, with as many decimals as are needed: `1.25`.
impl fmt::Display for MicroCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (
            magnitude / Self::PER_CREDIT as u64,
            magnitude % Self::PER_CREDIT as u64,
        );
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write credits as digits with a point and at most six decimals, like 12.5")]
pub struct NotCredits;

/// Credits as they are shown, read to the micro-credit: `12.5`.
impl FromStr for MicroCredits {
    type Err = NotCredits;

    fn from_str(text: &str) -> Result<Self, NotCredits> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(NotCredits);
        }
        let whole: i64 = whole.parse().map_err(|_| NotCredits)?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| NotCredits)?;
        let whole = whole.checked_mul(Self::PER_CREDIT);
        let amount = whole.and_then(|whole| whole.checked_add(fraction));
        amount.map(Self).ok_or(NotCredits)
    }
}

#[cfg(test)]
mod tests {
    use super::MicroCredits;

    #[test]
    fn credits_are_read_to_the_micro_credit() {
        let read = |text: &str| text.parse().map(MicroCredits::get).ok();
        assert_eq!(read("12.5"), Some(12_500_000));
        assert_eq!(read("0.000001"), Some(1));
        assert_eq!(read("9223372036854.775807"), Some(i64::MAX));
        for bad in [
            "",
            "-1",
            "1.",
            ".5",
            "1e3",
            "0.0000001",
            "9223372036854.775808",
            "99999999999999999999",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_are_shown_in_credits() {
        let shown = |n| MicroCredits::new(n).to_string();
        assert_eq!(shown(0), "0");
        assert_eq!(shown(1_250_000), "1.25");
        assert_eq!(shown(-1), "-0.000001");
        assert_eq!(shown(i64::MIN), "-9223372036854.775808");
    }

    #[test]
    fn a_sum_that_overflows_is_none() {
        let max = MicroCredits::new(i64::MAX);
        assert_eq!(MicroCredits::checked_sum([max, MicroCredits::new(1)]), None);
        assert_eq!(
            MicroCredits::checked_sum([max, -max]),
            Some(MicroCredits::ZERO)
        );
    }
}
