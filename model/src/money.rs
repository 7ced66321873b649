//! Prices. GB = 10⁹ bytes, month = 2,592,000 s; integers only.

use crate::scheme::Scheme;
use std::fmt;
use std::str::FromStr;

use proto::MicroCredits;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub const MONTH_SECONDS: u64 = 2_592_000;
pub const BYTES_PER_GB: u64 = 1_000_000_000;

/// An amount that 64 bits do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large")]
pub struct AmountTooLarge;

/// Credits per GB and month, exact to the micro-credit. Written as a decimal: `1.25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PricePerGbMonth(u64);

impl PricePerGbMonth {
    pub const fn from_microcredits(microcredits: u64) -> Self {
        Self(microcredits)
    }

    /// `CalculateStorageCost(size, replicas)` for a scheme: a month, paid in advance, rounded up.
    pub fn first_month(self, size: u64, scheme: Scheme) -> Result<MicroCredits, AmountTooLarge> {
        let cost = scheme
            .stored_bytes(size)
            .checked_mul(u128::from(self.0))
            .ok_or(AmountTooLarge)?;
        let cost = i64::try_from(cost.div_ceil(u128::from(BYTES_PER_GB)));
        cost.map(MicroCredits::new).map_err(|_| AmountTooLarge)
    }

    pub const fn microcredits(self) -> u64 {
        self.0
    }

    /// What `byte_ms` come to at this price, and the fraction that is left over. The fraction of the
    /// time before goes in, so that nothing is lost between two meterings.
    pub fn meter(
        self,
        byte_ms: u128,
        carry: Carry,
    ) -> Result<(MicroCredits, Carry), AmountTooLarge> {
        let parts = byte_ms
            .checked_mul(u128::from(self.0))
            .and_then(|parts| parts.checked_add(u128::from(carry.0)))
            .ok_or(AmountTooLarge)?;
        let amount = i64::try_from(parts / PARTS).map_err(|_| AmountTooLarge)?;
        Ok((MicroCredits::new(amount), Carry((parts % PARTS) as u64)))
    }

    /// For how long `amount` pays for `bytes`, in whole milliseconds; `None` when it does for ever.
    pub fn lasts_ms(self, amount: MicroCredits, bytes: u128) -> Option<u128> {
        let parts_per_ms = bytes.checked_mul(u128::from(self.0))?;
        let parts = u128::try_from(amount.get()).unwrap_or(0) * PARTS;
        parts.checked_div(parts_per_ms)
    }
}

/// A micro-credit in the units of the meter: byte-milliseconds at a price in micro-credits.
const PARTS: u128 = BYTES_PER_GB as u128 * MONTH_SECONDS as u128 * 1000;

/// The fraction of a micro-credit that a metering left over, in units of 1/(10⁹·2,592,000,000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Carry(u64);

impl Carry {
    pub const ZERO: Self = Self(0);

    /// `None` for what is a micro-credit or more.
    pub fn from_parts(parts: u64) -> Option<Self> {
        (u128::from(parts) < PARTS).then_some(Self(parts))
    }

    pub const fn parts(self) -> u64 {
        self.0
    }
}

/// Dollars with at most two decimals, read exactly: `10`, `9.99`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsdCents(u64);

impl UsdCents {
    /// Nobody buys for more at once; a typing error should not.
    pub const MAX: Self = Self(100_000_000);

    pub const fn new(cents: u64) -> Self {
        Self(cents)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// What so many credits are worth, in whole cents: a fraction is left out.
    pub fn of_credits(amount: MicroCredits, credits_per_usd: u32) -> Self {
        let amount = u128::from(amount.get().max(0).unsigned_abs());
        let per_usd = u128::from(credits_per_usd.max(1)) * MicroCredits::PER_CREDIT as u128;
        Self(u64::try_from(amount * 100 / per_usd).unwrap_or(u64::MAX))
    }

    /// The credits that this buys.
    pub fn to_credits(self, credits_per_usd: u32) -> Result<MicroCredits, AmountTooLarge> {
        let per_cent = u64::from(credits_per_usd) * MicroCredits::PER_CREDIT as u64 / 100;
        self.0
            .checked_mul(per_cent)
            .and_then(|amount| i64::try_from(amount).ok())
            .map(MicroCredits::new)
            .ok_or(AmountTooLarge)
    }
}

impl fmt::Display for UsdCents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount: {reason}")]
pub struct ParseAmountError {
    text: String,
    reason: String,
}

impl FromStr for UsdCents {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let failed = |reason: &str| ParseAmountError {
            text: text.chars().take(40).collect(),
            reason: reason.to_owned(),
        };
        let cents = parse_decimal(text, 2).map_err(failed)?;
        if cents == 0 {
            return Err(failed("it must be more than 0"));
        }
        if cents > Self::MAX.0 {
            return Err(failed("it must be at most 1000000"));
        }
        Ok(Self(cents))
    }
}

impl FromStr for PricePerGbMonth {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        parse_decimal(text, 6)
            .map(Self)
            .map_err(|reason| ParseAmountError {
                text: text.to_owned(),
                reason: reason.to_owned(),
            })
    }
}

/// Settings write a price as a number or as text.
impl<'de> Deserialize<'de> for PricePerGbMonth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Integer(u32),
            Decimal(f64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Integer(credits) => credits.to_string(),
            Written::Decimal(credits) => credits.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for PricePerGbMonth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&MicroCredits::new(self.0 as i64))
    }
}

/// Reads `12.34` as an integer count of its smallest decimal, without ever rounding.
fn parse_decimal(text: &str, decimals: u32) -> Result<u64, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return Err("write it as digits with a point, like 9.99");
    }
    if fraction.len() > decimals as usize {
        return Err(if decimals == 2 {
            "it has more than two decimals"
        } else {
            "it has more than six decimals"
        });
    }
    let scale = 10u64.pow(decimals);
    let fraction_scale = 10u64.pow(decimals - fraction.len() as u32);
    let too_large = "it is too large";
    let whole: u64 = whole.parse().map_err(|_| too_large)?;
    let fraction: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| too_large)?
    };
    whole
        .checked_mul(scale)
        .and_then(|value| value.checked_add(fraction * fraction_scale))
        .filter(|value| i64::try_from(*value).is_ok())
        .ok_or(too_large)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE: Scheme = Scheme::copies(3);

    const PRICE: PricePerGbMonth = PricePerGbMonth::from_microcredits(1_250_000);

    #[test]
    fn a_gigabyte_on_three_nodes_costs_three_times_the_price() {
        assert_eq!(
            PRICE.first_month(BYTES_PER_GB, THREE),
            Ok(MicroCredits::new(3_750_000))
        );
    }

    #[test]
    fn the_first_month_is_rounded_up_to_the_micro_credit() {
        assert_eq!(PRICE.first_month(0, THREE), Ok(MicroCredits::ZERO));
        assert_eq!(PRICE.first_month(1, THREE), Ok(MicroCredits::new(1)));
        assert_eq!(PRICE.first_month(1024, THREE), Ok(MicroCredits::new(4)));
    }

    #[test]
    fn an_amount_beyond_64_bits_is_an_error_and_not_a_wrap() {
        assert_eq!(
            PRICE.first_month(u64::MAX, Scheme::copies(1000)),
            Err(AmountTooLarge)
        );
    }

    #[test]
    fn dollars_are_read_exactly() {
        let credits = |text: &str| text.parse::<UsdCents>().unwrap().to_credits(100).unwrap();
        assert_eq!(credits("10"), MicroCredits::new(1_000_000_000));
        assert_eq!(credits("9.99"), MicroCredits::new(999_000_000));
        assert_eq!(credits("0.01"), MicroCredits::new(1_000_000));
        for bad in [
            "",
            "0",
            "-1",
            "1e3",
            "1.001",
            "1.",
            ".5",
            "ten",
            "1000000.01",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<UsdCents>().is_err(), "{bad}");
        }
    }

    #[test]
    fn credits_are_worth_whole_cents_and_never_more_than_they_cost() {
        let worth = |microcredits| UsdCents::of_credits(MicroCredits::new(microcredits), 100);
        assert_eq!(worth(1_000_000_000), UsdCents::new(1000));
        assert_eq!(worth(1_999_999), UsdCents::new(1));
        assert_eq!(worth(999_999), UsdCents::new(0));
        assert_eq!(worth(-5), UsdCents::new(0));
        let dear = UsdCents::of_credits(MicroCredits::new(i64::MAX), 1);
        assert!(dear.to_credits(1).unwrap() <= MicroCredits::new(i64::MAX));
    }

    proptest! {
        #[test]
        fn metering_in_parts_comes_to_what_metering_at_once_does(parts in prop::collection::vec(0u64.., 1..20)) {
            let (mut sum, mut carry) = (0, Carry::ZERO);
            for part in &parts {
                let (amount, left) = PRICE.meter(u128::from(*part), carry).unwrap();
                sum += amount.get();
                carry = left;
            }
            let whole = parts.iter().map(|part| u128::from(*part)).sum();
            prop_assert_eq!(PRICE.meter(whole, Carry::ZERO), Ok((MicroCredits::new(sum), carry)));
        }

        #[test]
        fn an_amount_is_used_up_when_it_no_longer_lasts(amount in 0i64..1 << 40, bytes in 1u128..1 << 50) {
            let amount = MicroCredits::new(amount);
            let ms = PRICE.lasts_ms(amount, bytes).unwrap();
            let used = |ms| PRICE.meter(bytes * ms, Carry::ZERO).unwrap();
            prop_assert!(used(ms) <= (amount, Carry::ZERO));
            prop_assert!(used(ms + 1) > (amount, Carry::ZERO));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            let _ = text.parse::<UsdCents>();
            let _ = text.parse::<PricePerGbMonth>();
        }
    }
}
