//! Whether two clocks agree well enough for what cannot be taken back: a file's end, a node's disqualification, the
//! settlement of a day. One of them may have jumped, and nobody can say which.

use jiff::{SignedDuration, Timestamp};

/// More than any network of clocks is ever off, and less than anything that is decided by time takes.
pub const TOLERATED: SignedDuration = SignedDuration::from_mins(5);

/// How far another clock is ahead of the own one, if it said `told` to a question asked and answered at these times. What
/// the question's way can explain is no difference.
pub fn ahead(asked: Timestamp, told: Timestamp, answered: Timestamp) -> SignedDuration {
    let (first, last) = (asked.min(answered), asked.max(answered));
    if told < first {
        told.duration_since(first)
    } else if told > last {
        told.duration_since(last)
    } else {
        SignedDuration::ZERO
    }
}

pub fn agree(ahead: SignedDuration) -> bool {
    ahead.abs() <= TOLERATED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_difference_is_what_the_way_of_the_question_cannot_explain() {
        for (told, seconds) in [(1000, 0), (1001, 0), (1002, 0), (1005, 3), (990, -10)] {
            let ahead = ahead(at(1000), at(told), at(1002));
            assert_eq!(ahead.as_secs(), seconds, "{told}");
        }
    }

    #[test]
    fn the_own_clock_may_be_set_back_while_the_other_is_asked() {
        let ahead = ahead(at(1000), at(1000), at(400));
        assert_eq!(ahead, SignedDuration::ZERO);
    }

    #[test]
    fn five_minutes_are_borne_in_both_directions_and_forty_days_are_not() {
        for (seconds, borne) in [
            (0, true),
            (300, true),
            (-300, true),
            (301, false),
            (-301, false),
        ] {
            assert_eq!(
                agree(SignedDuration::from_secs(seconds)),
                borne,
                "{seconds}"
            );
        }
        assert!(!agree(SignedDuration::from_hours(40 * 24)));
    }
}
