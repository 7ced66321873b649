//! What a stored file costs its owner. The state is what the file's row says and nothing more: use is
//! a function of time, so that charging a day writes one transfer for a user and no row of a file.
//! Rejected: an amount kept in each file's row and moved forward every day, which would rewrite the
//! whole table every day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::MicroCredits;

use model::file::File;
use model::money::{AmountTooLarge, Carry, PricePerGbMonth};
use model::scheme::Scheme;

/// Nothing is paid for longer than this: 100 years.
const LONGEST_MS: u128 = 100 * 365 * 86_400_000;

/// A file from `complete` to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeter {
    pub size_bytes: u64,
    pub scheme: Scheme,
    pub price: PricePerGbMonth,
    /// `complete`
    pub since: Timestamp,
    /// The first month and all renewals.
    pub paid: MicroCredits,
}

/// How the escrow of a file that ends is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalCharge {
    /// All that is left of it.
    pub escrow: MicroCredits,
    /// For the time since the last daily charge.
    pub income: MicroCredits,
    /// What rounding up, once, adds.
    pub rounding: MicroCredits,
    pub refund: MicroCredits,
}

impl FileMeter {
    /// Of a stored file.
    pub const fn of(file: &File) -> Self {
        Self {
            size_bytes: file.layout.size_bytes,
            scheme: file.scheme,
            price: file.price,
            since: file.completed_at,
            paid: file.paid,
        }
    }

    fn bytes(&self) -> u128 {
        self.scheme.stored_bytes(self.size_bytes)
    }

    /// Whole micro-credits used up to `at`, and the fraction on top.
    fn used(&self, at: Timestamp) -> Result<(MicroCredits, Carry), AmountTooLarge> {
        let ms = at.as_millisecond() - self.since.as_millisecond();
        let ms = u128::try_from(ms).unwrap_or(0); // not before it began
        let byte_ms = self.bytes().checked_mul(ms).ok_or(AmountTooLarge)?;
        self.price.meter(byte_ms, Carry::ZERO)
    }

    /// What daily charges have taken when the last of them reached to `until`.
    pub fn charged(&self, until: Timestamp) -> Result<MicroCredits, AmountTooLarge> {
        Ok(self.used(until)?.0)
    }

    /// What the daily charge of the time from `from` to `until` takes.
    pub fn charge(
        &self,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<MicroCredits, AmountTooLarge> {
        let charge = self.charged(until)?.checked_sub(self.charged(from)?);
        charge.ok_or(AmountTooLarge)
    }

    /// When all that was paid is used up.
    pub fn paid_until(&self) -> Timestamp {
        let ms = self.price.lasts_ms(self.paid, self.bytes());
        let ms = ms.map_or(LONGEST_MS, |ms| ms.min(LONGEST_MS)) as i64;
        Timestamp::from_millisecond(self.since.as_millisecond().saturating_add(ms))
            .unwrap_or(Timestamp::MAX)
    }

    /// Whether it is paid for as long as anything can be.
    pub fn is_paid_for_good(&self) -> bool {
        let ms = self.price.lasts_ms(self.paid, self.bytes());
        ms.is_none_or(|ms| ms >= LONGEST_MS)
    }

    /// When a renewal is tried first, so long before it is used up; `None` if it never is.
    pub fn renew_at(&self, before: Duration) -> Option<Timestamp> {
        if self.is_paid_for_good() {
            return None;
        }
        let before = SignedDuration::try_from(before).ok()?;
        self.paid_until().saturating_sub(before).ok()
    }

    /// Another month.
    pub fn renewal(&self) -> Result<MicroCredits, AmountTooLarge> {
        self.price.first_month(self.size_bytes, self.scheme)
    }

    /// Ends the meter at `at`, when daily charges have reached to `charged_until`.
    pub fn end(
        &self,
        charged_until: Timestamp,
        at: Timestamp,
    ) -> Result<FinalCharge, AmountTooLarge> {
        let charged = self.charged(charged_until.min(at))?;
        let (whole, fraction) = self.used(at)?;
        let (whole, rounding) = if whole >= self.paid {
            (self.paid, MicroCredits::ZERO)
        } else {
            (whole, MicroCredits::new(i64::from(fraction != Carry::ZERO)))
        };
        let less = |a: MicroCredits, b: MicroCredits| a.checked_sub(b).ok_or(AmountTooLarge);
        Ok(FinalCharge {
            escrow: less(self.paid, charged)?,
            income: less(whole, charged)?,
            rounding,
            refund: less(less(self.paid, whole)?, rounding)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::money::MONTH_SECONDS;

    const PRICE: PricePerGbMonth = PricePerGbMonth::from_microcredits(1_250_000);
    const MONTH_MS: i64 = MONTH_SECONDS as i64 * 1000;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn meter(size_bytes: u64, since: i64) -> FileMeter {
        FileMeter {
            size_bytes,
            scheme: Scheme::copies(3),
            price: PRICE,
            since: ms(since),
            paid: PRICE.first_month(size_bytes, Scheme::copies(3)).unwrap(),
        }
    }

    #[test]
    fn a_month_that_is_paid_lasts_a_month() {
        assert_eq!(meter(100_000, 7).paid_until(), ms(7 + MONTH_MS));
        // Rounding up buys a little more.
        assert!(meter(100_001, 7).paid_until() >= ms(7 + MONTH_MS));
        assert!(!meter(100_000, 7).is_paid_for_good());
    }

    #[test]
    fn what_costs_nothing_is_never_used_up() {
        let free = meter(0, 0);
        assert!(free.is_paid_for_good());
        assert!(free.paid_until() > ms(1000 * MONTH_MS));
    }

    #[test]
    fn a_file_that_ends_at_once_costs_nothing() {
        let meter = meter(1_000_000, 5);
        let end = meter.end(ms(0), ms(5)).unwrap();
        assert_eq!((end.income.get(), end.rounding.get()), (0, 0));
        assert_eq!(end.refund, meter.paid);
    }

    proptest! {
        #[test]
        fn days_and_the_end_together_cost_the_use_rounded_up_once(
            size in 0u64..1 << 45, since in 0i64..MONTH_MS,
            days in prop::collection::vec(0i64..MONTH_MS, 0..10), end in 0i64..=MONTH_MS,
        ) {
            let meter = meter(size, since);
            let mut days = days;
            days.sort_unstable();
            let end = since + end;
            let (mut sum, mut until) = (0, ms(0));
            for day in days.into_iter().filter(|day| *day <= end) {
                let charge = meter.charge(until, ms(day)).unwrap();
                prop_assert!(!charge.is_negative());
                (sum, until) = (sum + charge.get(), ms(day));
            }
            let last = meter.end(until, ms(end)).unwrap();
            for part in [last.escrow, last.income, last.rounding, last.refund] {
                prop_assert!(!part.is_negative());
            }
            prop_assert_eq!(last.escrow.get(), last.income.get() + last.rounding.get() + last.refund.get());
            prop_assert_eq!(sum + last.escrow.get(), meter.paid.get());
            let exact = u128::from(size) * 3 * 1_250_000 * (end - since) as u128;
            let cost = exact.div_ceil(1_000_000_000 * 2_592_000_000).min(meter.paid.get() as u128);
            prop_assert_eq!((sum + last.income.get() + last.rounding.get()) as u128, cost);
        }

        #[test]
        fn a_file_never_uses_more_than_was_paid_before_it_ends(size in 1u64..1 << 45, months in 1i64..30) {
            let mut meter = meter(size, 0);
            meter.paid = MicroCredits::new(meter.paid.get() * months);
            let end = meter.end(ms(0), meter.paid_until()).unwrap();
            prop_assert!(!end.refund.is_negative());
            prop_assert!(meter.charged(meter.paid_until()).unwrap() <= meter.paid);
        }
    }
}
