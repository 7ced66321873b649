//! The time of day, handed down: the one place that reads the wall clock.
//!
//! Who needs the time once takes a [`Timestamp`]; who needs it again and again takes a [`Clock`]. Tests hand
//! in a [`SimulatedClock`] and decide what time it is. Pauses and timeouts are tokio's, which tests can
//! pause. Rejected: a trait, which would make every holder of a clock generic.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// What tells the time. Clones tell the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Simulated(SimulatedClock),
}

impl Clock {
    /// The wall clock of this machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Simulated(clock) => clock.now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(system)"),
            Source::Simulated(clock) => write!(f, "Clock({})", clock.now()),
        }
    }
}

/// A clock that stands still until it is told otherwise. Clones, and the clocks made of it, follow.
#[derive(Debug, Clone)]
pub struct SimulatedClock(Arc<Mutex<Timestamp>>);

impl SimulatedClock {
    pub fn new(at: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    pub fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also backwards, as clocks of machines do.
    pub fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Stops at the end of what a timestamp can say.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(by).unwrap_or(Timestamp::MAX);
    }
}

impl From<SimulatedClock> for Clock {
    fn from(clock: SimulatedClock) -> Self {
        Self(Source::Simulated(clock))
    }
}

impl From<&SimulatedClock> for Clock {
    fn from(clock: &SimulatedClock) -> Self {
        clock.clone().into()
    }
}

/// Unix milliseconds, as they stand on disk and in receipts. Times before 1970 count as 1970.
pub fn unix_ms(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_a_simulated_clock_sees_the_time_that_the_test_has_set() {
        let time = SimulatedClock::new(Timestamp::UNIX_EPOCH);
        let clock = Clock::from(&time);
        let other = clock.clone();
        time.advance(Duration::from_millis(1500));
        assert_eq!(unix_ms(clock.now()), 1500);
        time.set(Timestamp::from_second(1).unwrap());
        assert_eq!(unix_ms(other.now()), 1000);
        time.advance(Duration::MAX);
        assert_eq!(other.now(), Timestamp::MAX);
    }

    #[test]
    fn times_before_1970_count_as_1970() {
        assert_eq!(unix_ms(Timestamp::from_millisecond(-5).unwrap()), 0);
    }

    #[test]
    fn the_clock_of_the_system_is_past_the_day_this_was_written() {
        let written: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        assert!(Clock::system().now() > written);
    }
}
