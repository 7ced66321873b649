//! Attempts, so many in a time for each key: an address, an account, or both.
//!
//! Nobody can fill a table here, and nobody can use up what another has: a limit is a fixed number of cells, and a key
//! has two of them, which only the program can tell. An attempt counts in both and is refused when both are
//! empty. Whoever has a million networks empties cells by trying as often from each; that he *has* them does nothing.
//! Rejected: a table of keys, which has to be bounded, and then newcomers share what is left.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};

/// One attempt too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooManyRequests {
    pub retry_after: Duration,
    pub policy: Policy,
}

/// So many attempts in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub name: &'static str,
    pub quota: u32,
    pub window: Duration,
}

/// A quota of attempts in a time, for each key.
pub struct Limit<C: Clock = DefaultClock> {
    limiter: RateLimiter<[usize; 2], Cells, C, NoOpMiddleware<C::Instant>>,
    /// Without it anybody could tell which keys share a cell.
    secret: [u8; 32],
    policy: Policy,
}

impl Limit {
    /// `secret` is anything that nobody else knows.
    pub fn new(policy: Policy, secret: [u8; 32]) -> Self {
        Self::with_clock(policy, DefaultClock::default(), secret)
    }
}

impl<C: Clock> Limit<C> {
    fn with_clock(policy: Policy, clock: C, secret: [u8; 32]) -> Self {
        let burst = NonZeroU32::new(policy.quota).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(policy.window / burst.get())
            .unwrap_or(Quota::per_second(NonZeroU32::MAX))
            .allow_burst(burst);
        Self {
            limiter: RateLimiter::new(quota, Cells::new(), clock),
            secret,
            policy,
        }
    }

    pub fn check(&self, key: &[&[u8]]) -> Result<(), TooManyRequests> {
        self.check_n(key, NonZeroU32::MIN)
    }

    /// As so many attempts at once; as many as there can be, if that is less.
    pub fn check_n(&self, key: &[&[u8]], cost: NonZeroU32) -> Result<(), TooManyRequests> {
        let cells = self.cells(key);
        let checked = self.limiter.check_key_n(&cells, cost);
        let checked = checked.unwrap_or_else(|_| self.limiter.check_key(&cells));
        checked.map_err(|until| self.refusal(&until))
    }

    fn refusal(&self, until: &NotUntil<C::Instant>) -> TooManyRequests {
        TooManyRequests {
            retry_after: until.wait_time_from(self.limiter.clock().now()),
            policy: self.policy,
        }
    }

    /// One in each half.
    fn cells(&self, key: &[&[u8]]) -> [usize; 2] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in key {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let [a, b, c, d, ..] = *hash.as_bytes();
        [
            usize::from(u16::from_le_bytes([a, b])),
            HALF + usize::from(u16::from_le_bytes([c, d])),
        ]
    }
}

/// Cells in each half of a limit.
const HALF: usize = 1 << 16;

/// 1 MiB, however many keys there are.
struct Cells(Box<[InMemoryState]>);

impl Cells {
    fn new() -> Self {
        Self((0..2 * HALF).map(|_| InMemoryState::default()).collect())
    }
}

impl StateStore for Cells {
    type Key = [usize; 2];

    fn measure_and_replace<T, F, E>(&self, key: &Self::Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let [first, second] =
            key.map(|cell| self.0[cell].measure_and_replace(&NotKeyed::NonKey, &decide));
        first.or(second)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit(quota: u32) -> (Limit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let policy = Policy {
            name: "test",
            quota,
            window: Duration::from_secs(60),
        };
        let limit = Limit::with_clock(policy, clock.clone(), [1; 32]);
        (limit, clock)
    }

    #[test]
    fn whoever_has_many_networks_leaves_newcomers_their_attempts() {
        let (limit, _) = limit(120);
        for network in 0..100_000_u32 {
            limit.check(&[&network.to_be_bytes()]).unwrap();
        }
        for newcomer in 0..100_u64 {
            for _ in 0..100 {
                limit.check(&[&newcomer.to_be_bytes()]).unwrap();
            }
        }
    }

    #[test]
    fn who_is_stopped_goes_on_when_time_has_passed() {
        let (limit, clock) = limit(60);
        let key: &[&[u8]] = &[b"key"];
        for _ in 0..60 {
            limit.check(key).unwrap();
        }
        let refused = limit.check(key).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        limit.check(key).unwrap();
        limit.check(key).unwrap_err();
    }
}
