//! How much may be removed for good in a day because somebody orders it.
//!
//! Whoever holds a coordinator's key can order a node to delete everything, and what is deleted on all nodes is
//! gone. So what goes beyond a small part of what a store holds only goes to the trash, for long enough that
//! people notice and bring it back. The counts are the catalogue's and change in the transaction that removes.
//! Both are rounded to the careful side: a removal counts for up to a minute longer than a day, a high count for
//! up to an hour longer than a week. Rejected: a count of messages or of bytes; a user with many small files is
//! hurt by blobs. Rejected, too: to ask the network whether an order is meant, which the thief would answer.

use std::time::Duration;

use jiff::Timestamp;

const DAY_MINUTES: i64 = 24 * 60;
const WEEK_HOURS: i64 = 7 * 24;

/// What may be removed in any 24 hours: the larger one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// So many blobs.
    pub blobs: u64,
    /// So many parts per million of the highest count of the last 7 days.
    pub share_ppm: u64,
    /// How long what goes beyond that stays in the trash.
    pub hold: Duration,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            blobs: 20,
            share_ppm: 20_000,
            hold: Duration::from_secs(72 * 3600),
        }
    }
}

impl Brake {
    /// Blobs that may go in 24 hours, `highest` being the most that were held in the last 7 days.
    pub fn limit(&self, highest: u64) -> u64 {
        let share = u128::from(highest) * u128::from(self.share_ppm) / 1_000_000;
        self.blobs.max(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// The minute in which a removal is counted.
pub(crate) fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// The hour in which a count is noted.
pub(crate) fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

/// Removals of this minute and later ones count at `at`.
pub(crate) fn first_minute(at: Timestamp) -> i64 {
    minute(at) - DAY_MINUTES
}

/// Counts of this hour and later ones count at `at`.
pub(crate) fn first_hour(at: Timestamp) -> i64 {
    hour(at) - WEEK_HOURS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twenty_blobs_or_a_fiftieth_of_the_most_that_were_held_may_go_in_a_day() {
        let limits =
            [0, 20, 999, 1000, 1001, 1050, 1_000_000].map(|held| Brake::default().limit(held));
        assert_eq!(limits, [20, 20, 20, 20, 20, 21, 20_000]);
    }

    proptest! {
        #[test]
        fn no_window_of_a_day_or_a_week_is_cut_short(now in 0..1_000_000_000_i64, ago in 0..=24 * 3600_i64) {
            let at = |second: i64| Timestamp::from_second(second).unwrap();
            prop_assert!(minute(at(now - ago)) >= first_minute(at(now)));
            prop_assert!(hour(at(now - 7 * ago)) >= first_hour(at(now)));
        }
    }
}
