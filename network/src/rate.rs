//! How often something may be done: a burst, then one at a time (GCRA).

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub burst: u32,
    pub every: Duration,
}

/// What has been used of a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// When everything is there again.
    rested_at: Instant,
}

impl Used {
    pub(crate) fn nothing(now: Instant) -> Self {
        Self { rested_at: now }
    }

    /// `false` when the rate does not allow it now.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let rested_at = self.rested_at.max(now) + rate.every;
        let allowed = rested_at <= now + rate.every.saturating_mul(rate.burst.max(1));
        if allowed {
            self.rested_at = rested_at;
        }
        allowed
    }

    /// Whether it says nothing that a new one would not.
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        self.rested_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_one_at_a_time() {
        let rate = Rate {
            burst: 3,
            every: Duration::from_secs(10),
        };
        let start = Instant::now();
        let mut used = Used::nothing(start);
        let allowed = (0..5).filter(|_| used.take(rate, start)).count();
        assert_eq!(allowed, 3);
        assert!(!used.take(rate, start + Duration::from_secs(9)));
        assert!(used.take(rate, start + Duration::from_secs(10)));
        assert!(!used.take(rate, start + Duration::from_secs(11)));
        assert!(!used.is_rested(start + Duration::from_secs(39)));
        assert!(used.is_rested(start + Duration::from_secs(40)));
    }
}
