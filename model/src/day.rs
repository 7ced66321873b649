//! Settlement days. A day begins where the one before ended, so that none is counted twice and no time
//! is left out, whatever the clock did in between; it ends at the next multiple of the interval.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

pub const DAY: Duration = Duration::from_secs(86_400);

/// The time that is settled at once: a day of UTC, or less in a network that is tried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// `2026-11-21`; where days are shorter than 24 h, `2026-11-21T10:30:00Z`.
    pub label: String,
}

impl Day {
    /// The day that follows one that ended at `starts_at`.
    pub fn after(starts_at: Timestamp, interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        let start = starts_at.as_millisecond();
        let end = (start.div_euclid(interval_ms) + 1).saturating_mul(interval_ms);
        let label = if interval >= DAY {
            starts_at.to_zoned(TimeZone::UTC).date().to_string()
        } else {
            starts_at.to_string()
        };
        Self {
            starts_at,
            ends_at: Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX),
            label,
        }
    }

    /// Whether it is over for good: a little later than it ends, for what comes late.
    pub fn is_over(&self, now: Timestamp, interval: Duration) -> bool {
        let margin = (interval / 10).min(Duration::from_secs(30));
        let margin = SignedDuration::try_from(margin).unwrap_or(SignedDuration::ZERO);
        let due = self
            .ends_at
            .saturating_add(margin)
            .unwrap_or(Timestamp::MAX);
        now >= due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_ends_at_midnight_of_utc() {
        let first = Day::after(at("2026-11-21T12:47:33.5Z"), DAY);
        assert_eq!(first.ends_at, at("2026-11-22T00:00:00Z"));
        assert_eq!(first.label, "2026-11-21");
        let second = Day::after(first.ends_at, DAY);
        assert_eq!(
            (second.starts_at, second.ends_at),
            (first.ends_at, at("2026-11-23T00:00:00Z"))
        );
    }

    #[test]
    fn short_days_are_named_by_their_beginning() {
        let day = Day::after(at("2026-11-21T10:30:00Z"), Duration::from_secs(5));
        assert_eq!(day.label, "2026-11-21T10:30:00Z");
        assert_eq!(day.ends_at, at("2026-11-21T10:30:05Z"));
    }

    proptest! {
        /// A clock that is set back or forward moves when a day is cut off, never where.
        #[test]
        fn days_follow_each_other_whatever_the_clock_does(
            jumps in prop::collection::vec(-7_200_000i64..90_000_000, 1..60),
        ) {
            let begin = at("2026-11-21T00:00:00Z");
            let (mut now, mut cut) = (begin.as_millisecond() + 1, vec![begin]);
            for jump in jumps {
                now = (now + jump).max(begin.as_millisecond());
                loop {
                    let day = Day::after(*cut.last().unwrap(), DAY);
                    if !day.is_over(Timestamp::from_millisecond(now).unwrap(), DAY) {
                        break;
                    }
                    prop_assert_eq!(day.starts_at, *cut.last().unwrap());
                    cut.push(day.ends_at);
                }
            }
            for pair in cut.windows(2) {
                prop_assert_eq!(pair[1].duration_since(pair[0]), SignedDuration::from_hours(24));
            }
        }
    }
}
