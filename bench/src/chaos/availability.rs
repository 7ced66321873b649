//! How much of what was asked was answered, and the longest time without an answer.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::journal::{Op, Work};

/// For so long after a database or a coordinator is back, failures are still its own.
pub(super) const AFTERMATH: Duration = Duration::from_secs(5);

/// From when to when the database or a coordinator was down, its aftermath included.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
    /// The coordinator that was down, `None` for the database of all.
    pub coordinator: Option<usize>,
}

impl Window {
    /// Whether a request went to what was down while it was.
    fn touches(&self, op: &Op) -> bool {
        let concerned = self.coordinator.is_none_or(|down| down == op.coordinator);
        concerned && op.began <= self.to && op.ended >= self.from
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Availability {
    /// Requests apart from the windows.
    pub requests: u64,
    pub failed: u64,
    /// Requests that touched a window, and those of them that failed.
    pub apart: u64,
    pub apart_failed: u64,
    /// From the beginning of a failed request to the next one that succeeded, apart from the windows.
    pub longest_outage_s: f64,
    /// The same, windows included.
    pub longest_outage_in_all_s: f64,
}

impl Availability {
    pub fn of(work: Work, ops: &[Op], windows: &[Window]) -> Self {
        let mut ops: Vec<Op> = ops.iter().copied().filter(|op| op.work == work).collect();
        ops.sort_by_key(|op| op.ended);
        let is_apart = |op: &Op| windows.iter().any(|window| window.touches(op));
        let (apart, counted): (Vec<Op>, Vec<Op>) = ops.iter().copied().partition(is_apart);
        let failed = |ops: &[Op]| ops.iter().filter(|op| !op.succeeded).count() as u64;
        Self {
            requests: counted.len() as u64,
            failed: failed(&counted),
            apart: apart.len() as u64,
            apart_failed: failed(&apart),
            longest_outage_s: longest_outage(&counted).as_secs_f64(),
            longest_outage_in_all_s: longest_outage(&ops).as_secs_f64(),
        }
    }

    /// The part that succeeded; all of nothing.
    pub fn share(&self) -> f64 {
        match self.requests {
            0 => 1.0,
            requests => 1.0 - self.failed as f64 / requests as f64,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.apart += other.apart;
        self.apart_failed += other.apart_failed;
        self.longest_outage_s = self.longest_outage_s.max(other.longest_outage_s);
        self.longest_outage_in_all_s = self
            .longest_outage_in_all_s
            .max(other.longest_outage_in_all_s);
    }
}

/// Of requests in the order in which they ended.
fn longest_outage(ops: &[Op]) -> Duration {
    let mut longest = Duration::ZERO;
    let mut since: Option<Instant> = None;
    for op in ops {
        if !op.succeeded {
            since = Some(since.map_or(op.began, |since| since.min(op.began)));
        }
        if let Some(since) = since {
            longest = longest.max(op.ended.saturating_duration_since(since));
        }
        if op.succeeded {
            since = None;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read from one second to another.
    fn read(start: Instant, from: u64, to: u64, succeeded: bool) -> Op {
        Op {
            work: Work::Read,
            coordinator: 1,
            began: start + Duration::from_secs(from),
            ended: start + Duration::from_secs(to),
            succeeded,
        }
    }

    #[test]
    fn what_touches_a_window_is_counted_apart() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let ops = [
            read(start, 0, 1, true),
            read(start, 2, 11, false), // begun before, still on its way
            read(start, 12, 13, false),
            read(start, 16, 17, true),
            read(start, 18, 19, false),
            read(start, 20, 21, true),
        ];
        let window = |coordinator| Window {
            from: at(10),
            to: at(15),
            coordinator,
        };
        let found = Availability::of(Work::Read, &ops, &[window(None)]);
        assert_eq!((found.requests, found.failed), (4, 1));
        assert_eq!((found.apart, found.apart_failed), (2, 2));
        assert_eq!(found.share(), 0.75);
        assert_eq!(found.longest_outage_s, 3.0);
        assert_eq!(found.longest_outage_in_all_s, 15.0);
        assert_eq!(
            Availability::of(Work::Read, &ops, &[window(Some(1))]),
            found
        );
        let of_another = Availability::of(Work::Read, &ops, &[window(Some(2))]);
        assert_eq!((of_another.requests, of_another.apart), (6, 0));
        let writes = Availability::of(Work::Write, &ops, &[]);
        assert_eq!((writes.requests, writes.share()), (0, 1.0));
    }

    #[test]
    fn an_outage_that_nothing_ends_lasts_to_the_last_failure() {
        let start = Instant::now();
        let ops = [read(start, 0, 1, true), read(start, 2, 9, false)];
        let found = Availability::of(Work::Read, &ops, &[]);
        assert_eq!(found.longest_outage_s, 7.0);
    }
}
