//! When so many nodes fail at the same time that the fault is more likely here.

use jiff::{SignedDuration, Timestamp};

/// A smaller fleet proves nothing by its numbers.
const LEAST_FLEET: u64 = 20;

/// What happens within this time happens at the same time.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// The fleet in the last ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetHealth {
    /// Nodes that hold replicas which count.
    pub nodes: u64,
    /// Those that failed a proof or went offline.
    pub troubled: u64,
}

impl FleetHealth {
    /// A quarter of the fleet: the coordinator is to suspect itself.
    pub const fn is_mass_failure(self) -> bool {
        self.nodes >= LEAST_FLEET && self.troubled * 4 >= self.nodes
    }
}

/// While it lasts, nothing is demoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub raised_at: Timestamp,
    pub until: Timestamp,
}

impl Alarm {
    pub fn is_on(&self, now: Timestamp) -> bool {
        (self.raised_at..self.until).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_twenty_is_a_mass_failure_and_less_is_not() {
        let is = |nodes, troubled| FleetHealth { nodes, troubled }.is_mass_failure();
        assert!(is(20, 5) && is(1000, 250));
        assert!(!is(20, 4) && !is(1000, 249));
        assert!(!is(19, 19), "too few to tell");
    }

    #[test]
    fn an_alarm_ends_by_itself() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let alarm = Alarm {
            raised_at: at(100),
            until: at(200),
        };
        assert!(alarm.is_on(at(100)) && alarm.is_on(at(199)));
        assert!(!alarm.is_on(at(99)) && !alarm.is_on(at(200)));
    }
}
