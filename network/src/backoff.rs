//! When to dial a lost peer again. Pure.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Jittered exponential backoff with a retry limit that rests and then starts again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReconnectPolicy {
    /// Delay after the first failure.
    pub initial: Duration,
    /// No delay is longer, the rest excepted.
    pub max: Duration,
    /// What each further failure multiplies the delay by.
    pub factor: f64,
    /// Failures in a row before a rest.
    pub attempts: u32,
    /// The pause after `attempts` failures; counting starts anew behind it.
    pub rest: Duration,
    /// After an established connection is lost the first dial is uniform in 0..spread, so that the
    /// fleet does not come back to a restarted coordinator in one second.
    pub spread: Duration,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(20),
            factor: 2.0,
            attempts: 10,
            rest: Duration::from_secs(30),
            spread: Duration::from_secs(10),
        }
    }
}

impl ReconnectPolicy {
    /// The delay after `failures` failures in a row (≥ 1), drawn from [d/2, d].
    pub fn after_failures(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let position = failures.saturating_sub(1) % self.attempts.max(1);
        let is_rest = failures > 0 && failures.is_multiple_of(self.attempts.max(1));
        let full = if is_rest {
            self.rest
        } else {
            let growth = self.factor.powi(position.min(1000) as i32);
            let seconds = self.initial.as_secs_f64() * growth;
            Duration::try_from_secs_f64(seconds).map_or(self.max, |delay| delay.min(self.max))
        };
        full.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// The delay after an established connection was lost.
    pub fn after_loss(&self, rng: &mut impl Rng) -> Duration {
        self.spread.mul_f64(rng.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_then_rest_then_start_again() {
        let policy = ReconnectPolicy {
            attempts: 7,
            ..ReconnectPolicy::default()
        };
        let mut rng = StdRng::seed_from_u64(1);
        let upper = [1, 2, 4, 8, 16, 20, 30, 1, 2].map(Duration::from_secs);
        for (failures, upper) in (1..).zip(upper) {
            for _ in 0..100 {
                let delay = policy.after_failures(failures, &mut rng);
                assert!(
                    delay >= upper / 2 && delay <= upper,
                    "{failures}: {delay:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_dial_after_a_loss_is_spread_over_the_whole_window() {
        let policy = ReconnectPolicy::default();
        let mut rng = StdRng::seed_from_u64(1);
        let delays: Vec<_> = (0..1000).map(|_| policy.after_loss(&mut rng)).collect();
        assert!(delays.iter().all(|delay| *delay <= policy.spread));
        for tenth in 0..10 {
            let second = Duration::from_secs(tenth)..Duration::from_secs(tenth + 1);
            let share = delays
                .iter()
                .filter(|delay| second.contains::<Duration>(delay))
                .count();
            assert!(
                (50..200).contains(&share),
                "second {tenth}: {share} of 1000"
            );
        }
    }
}
