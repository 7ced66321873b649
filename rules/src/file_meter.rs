//! What a stored file costs its owner. The state is what the file's row says and nothing more: use is
//! a function of time, so that charging a day writes one transfer for a user and no row of a file.
//! Rejected: an amount kept in each file's row and moved forward every day, which would rewrite the
//! whole table every day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::MicroCredits;

use crate::allowance::Funds;
use model::file::File;
use model::money::{AmountTooLarge, Carry, MONTH_SECONDS, PricePerGbMonth};
use model::scheme::Scheme;
use model::terms::Terms;

/// No time that matters is longer than this: 100 years.
const LONGEST_MS: u128 = 100 * 365 * 86_400_000;

/// Nothing is paid for longer in advance: 12 months. What reaches further is kept for later.
pub const LONGEST_PREPAID: SignedDuration = SignedDuration::from_secs(12 * MONTH_SECONDS as i64);

/// What a file is, as far as its price goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priced {
    pub size_bytes: u64,
    pub terms: Terms,
    pub scheme: Scheme,
    pub price: PricePerGbMonth,
}

impl Priced {
    /// Of one copy.
    pub const fn billed_bytes(&self) -> u64 {
        self.terms.billed_bytes(self.size_bytes)
    }

    /// A month, paid in advance, rounded up.
    pub fn month(&self) -> Result<MicroCredits, AmountTooLarge> {
        self.price.first_month(self.billed_bytes(), self.scheme)
    }
}

/// A file from `complete` to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeter {
    /// Of one copy, by the terms that the file was sold under.
    pub billed_bytes: u64,
    pub scheme: Scheme,
    pub price: PricePerGbMonth,
    /// `complete`
    pub since: Timestamp,
    /// The first month and all renewals.
    pub paid: MicroCredits,
    /// The part of it that was trial credit.
    pub trial: MicroCredits,
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
    /// What the owner gets back.
    pub refund: MicroCredits,
    /// Trial credit that was not used up: the network gets it back.
    pub trial: MicroCredits,
}

impl FileMeter {
    /// Of a stored file.
    pub const fn of(file: &File) -> Self {
        Self {
            billed_bytes: file.terms.billed_bytes(file.layout.size_bytes),
            scheme: file.scheme,
            price: file.price,
            since: file.completed_at,
            paid: file.paid,
            trial: file.trial,
        }
    }

    fn bytes(&self) -> u128 {
        self.scheme.stored_bytes(self.billed_bytes)
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
    pub fn used_up_at(&self) -> Timestamp {
        let ms = self.price.lasts_ms(self.paid, self.bytes());
        let ms = ms.map_or(LONGEST_MS, |ms| ms.min(LONGEST_MS)) as i64;
        Timestamp::from_millisecond(self.since.as_millisecond().saturating_add(ms))
            .unwrap_or(Timestamp::MAX)
    }

    /// Until when the file is kept for what is paid at `at`: until that is used up, and for
    /// [`LONGEST_PREPAID`] at most.
    pub fn kept_until(&self, at: Timestamp) -> Timestamp {
        let longest = at.saturating_add(LONGEST_PREPAID);
        self.used_up_at().min(longest.unwrap_or(Timestamp::MAX))
    }

    /// What keeping it longer than until `paid_until` costs at `at`: nothing where what was paid reaches
    /// further, else another month.
    pub fn renewal(
        &self,
        paid_until: Timestamp,
        at: Timestamp,
    ) -> Result<MicroCredits, AmountTooLarge> {
        if self.kept_until(at) > paid_until {
            return Ok(MicroCredits::ZERO);
        }
        self.price.first_month(self.billed_bytes, self.scheme)
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
        let funds = Funds {
            amount: self.paid,
            trial: self.trial,
        };
        let returned = funds.give_back(less(less(self.paid, whole)?, rounding)?);
        Ok(FinalCharge {
            escrow: less(self.paid, charged)?,
            income: less(whole, charged)?,
            rounding,
            refund: returned.own,
            trial: returned.trial,
        })
    }
}

/// When a renewal is tried first, so long before the file's time is up.
pub fn renew_at(paid_until: Timestamp, before: Duration) -> Timestamp {
    let before = SignedDuration::try_from(before).unwrap_or(SignedDuration::MAX);
    paid_until.saturating_sub(before).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::terms::LEAST_BILLED_BYTES;

    const MONTH_MS: i64 = MONTH_SECONDS as i64 * 1000;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn priced(size_bytes: u64, terms: Terms, price: u64) -> Priced {
        Priced {
            size_bytes,
            terms,
            scheme: Scheme::copies(3),
            price: PricePerGbMonth::from_microcredits(price),
        }
    }

    fn meter_of(file: Priced, since: i64) -> FileMeter {
        FileMeter {
            billed_bytes: file.billed_bytes(),
            scheme: file.scheme,
            price: file.price,
            since: ms(since),
            paid: file.month().unwrap(),
            trial: MicroCredits::ZERO,
        }
    }

    fn meter(size_bytes: u64, since: i64) -> FileMeter {
        meter_of(priced(size_bytes, Terms::Content, 1_250_000), since)
    }

    fn named(name_bytes: u32) -> Terms {
        Terms::ContentAndName { name_bytes }
    }

    #[test]
    fn a_month_that_is_paid_lasts_a_month() {
        assert_eq!(meter(100_000, 7).used_up_at(), ms(7 + MONTH_MS));
        // Rounding up buys a little more.
        assert!(meter(100_001, 7).used_up_at() >= ms(7 + MONTH_MS));
    }

    #[test]
    fn nothing_is_paid_for_longer_than_twelve_months_at_a_time() {
        // What was free or nearly so, and was kept for a century.
        for file in [
            priced(0, Terms::Content, 1_250_000),
            priced(1, Terms::Content, 1_250_000),
            priced(0, named(1), 0),
            priced(0, named(1), 1),
        ] {
            let meter = meter_of(file, 0);
            assert_eq!(meter.kept_until(ms(0)), ms(12 * MONTH_MS), "{file:?}");
            // What was paid and reaches further is not paid again.
            let (until, at) = (ms(12 * MONTH_MS), ms(11 * MONTH_MS));
            assert_eq!(meter.renewal(until, at), Ok(MicroCredits::ZERO));
            assert_eq!(meter.kept_until(at), ms(23 * MONTH_MS));
        }
    }

    #[test]
    fn an_empty_file_with_a_long_name_costs_what_64_kib_do() {
        let file = priced(0, named(4096), 1_250_000);
        assert_eq!(file.month(), Ok(MicroCredits::new(246)));
        let until = meter_of(file, 0).kept_until(ms(0));
        assert!(until >= ms(MONTH_MS) && until < ms(MONTH_MS + MONTH_MS / 100));
    }

    #[test]
    fn a_file_that_ends_at_once_costs_nothing() {
        let meter = meter(1_000_000, 5);
        let end = meter.end(ms(0), ms(5)).unwrap();
        assert_eq!((end.income.get(), end.rounding.get()), (0, 0));
        assert_eq!(end.refund, meter.paid);
    }

    #[test]
    fn a_renewal_is_tried_before_the_time_is_up() {
        let day = Duration::from_secs(86_400);
        assert_eq!(renew_at(ms(MONTH_MS), day), ms(MONTH_MS - 86_400_000));
        assert_eq!(renew_at(Timestamp::MIN, day), Timestamp::MIN);
    }

    proptest! {
        #[test]
        fn a_month_is_billed_for_content_and_name_and_no_less_than_64_kib(
            size in 0u64..1 << 50, name in 1u32..=4096, price in 0u64..10_000_000, copies in 1u32..=16,
        ) {
            let file = Priced { scheme: Scheme::copies(copies), ..priced(size, named(name), price) };
            let billed = (size + u64::from(name)).max(LEAST_BILLED_BYTES);
            let exact = u128::from(billed) * u128::from(copies) * u128::from(price);
            prop_assert_eq!(file.month().unwrap().get() as u128, exact.div_ceil(1_000_000_000));
            // Nodes are paid for the content: never for more than its owner pays.
            prop_assert!(file.billed_bytes() >= size);
        }

        #[test]
        fn days_and_the_end_together_cost_the_use_rounded_up_once(
            size in 0u64..1 << 45, name in prop::option::of(1u32..=4096), since in 0i64..MONTH_MS,
            trial in 0.0f64..=1.0, days in prop::collection::vec(0i64..MONTH_MS, 0..10), end in 0i64..=MONTH_MS,
        ) {
            let file = priced(size, Terms::from_name_bytes(name), 1_250_000);
            let mut meter = meter_of(file, since);
            meter.trial = MicroCredits::new((meter.paid.get() as f64 * trial) as i64);
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
            for part in [last.escrow, last.income, last.rounding, last.refund, last.trial] {
                prop_assert!(!part.is_negative());
            }
            let back = last.refund.get() + last.trial.get();
            prop_assert_eq!(last.escrow.get(), last.income.get() + last.rounding.get() + back);
            prop_assert_eq!(sum + last.escrow.get(), meter.paid.get());
            let exact = u128::from(file.billed_bytes()) * 3 * 1_250_000 * (end - since) as u128;
            let cost = exact.div_ceil(1_000_000_000 * 2_592_000_000).min(meter.paid.get() as u128);
            prop_assert_eq!((sum + last.income.get() + last.rounding.get()) as u128, cost);
            // No more is the owner's than the owner paid, and no more trial returns than was lent.
            prop_assert!(last.refund.get() <= meter.paid.get() - meter.trial.get());
            prop_assert!(last.trial <= meter.trial);
        }

        #[test]
        fn a_file_never_uses_more_than_was_paid_before_it_ends(
            size in 0u64..1 << 45, name in 1u32..=4096, months in 1i64..30, at in 0i64..40 * MONTH_MS,
        ) {
            let mut meter = meter_of(priced(size, named(name), 1_250_000), 0);
            meter.paid = MicroCredits::new(meter.paid.get() * months);
            let until = meter.kept_until(ms(at));
            prop_assert!(until <= meter.used_up_at() && until <= ms(at + 12 * MONTH_MS));
            let end = meter.end(ms(0), until.max(ms(0))).unwrap();
            prop_assert!(!end.refund.is_negative());
            prop_assert!(meter.charged(until).unwrap() <= meter.paid);
        }

        #[test]
        fn a_file_that_is_renewed_whenever_it_is_due_is_always_paid_for_and_never_far_ahead(
            size in 0u64..1 << 40, name in 1u32..=4096, price in 0u64..2_000_000, before in 0u64..=30,
        ) {
            let mut meter = meter_of(priced(size, named(name), price), 0);
            let mut until = meter.kept_until(ms(0));
            for _ in 0..40 {
                let now = renew_at(until, Duration::from_secs(before * 86_400)).max(ms(0));
                let cost = meter.renewal(until, now).unwrap();
                meter.paid = MicroCredits::new(meter.paid.get() + cost.get());
                let next = meter.kept_until(now);
                prop_assert!(next > until, "{next} after {until}");
                until = next;
                prop_assert!(until <= meter.used_up_at());
                prop_assert!(until.as_millisecond() <= now.as_millisecond() + 12 * MONTH_MS);
            }
        }
    }
}
