//! So many bytes a second and no more, of all transfers of a client together.
//!
//! Each piece has a time of its own in which it may pass, right behind that of the one before, and whoever brings it waits
//! until that is over. So nothing is saved up: after a pause the limit holds as before. Rejected: a bucket of tokens,
//! whose first second is as fast as the line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_per_second: Option<u64>,
    /// When what was let in is through.
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `None`: as fast as it goes.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            free_at: Mutex::new(None),
        }
    }

    /// Returns when these bytes may count as passed.
    pub(crate) async fn take(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let lasts = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let until = free_at.map_or(now, |at| at.max(now)) + lasts;
            *free_at = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_for_all_who_take_at_the_same_time() {
        let limiter = Limiter::new(Some(1 << 20));
        let begun = Instant::now();
        let takers = (0..8).map(|_| async {
            for _ in 0..20 {
                limiter.take(65_536).await;
            }
        });
        futures::future::join_all(takers).await;
        let took = begun.elapsed().as_secs_f64(); // of simulated time
        assert!((took - 10.0).abs() < 0.5, "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_nothing_up() {
        let limiter = Limiter::new(Some(1000));
        limiter.take(1).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        limiter.take(2000).await;
        assert!(begun.elapsed() >= Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let begun = Instant::now();
        Limiter::new(None).take(usize::MAX).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
