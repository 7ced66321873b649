//! [`Delay`] with the interface that libp2p knows from the `futures-timer` of the registry, which the
//! workspace's manifest replaces by this crate.
//!
//! The original keeps its timers in a thread of its own and wakes it for each one that is set and each one
//! that is dropped: for every stream, twice on either side, though hardly any ever fires. Here a timer is an entry
//! in the wheel of the runtime that polls it, and nobody is woken but by its end. The price: it has to be
//! polled inside a tokio runtime, as all of libp2p is here.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Is over a set time after it was made or last reset.
pub struct Delay(State);

enum State {
    /// Nobody waits. Many are never polled, and may be made outside of a runtime.
    Until(Option<Instant>),
    Sleeping(Pin<Box<Sleep>>),
}

impl Delay {
    /// A time beyond what the clock can count never comes.
    pub fn new(duration: Duration) -> Self {
        Self(State::Until(Instant::now().checked_add(duration)))
    }

    pub fn reset(&mut self, duration: Duration) {
        *self = Self::new(duration);
    }
}

impl Future for Delay {
    type Output = ();

    /// # Panics
    ///
    /// Outside of a tokio runtime with timers.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let State::Until(end) = self.0 {
            let sleep = end.map_or_else(|| sleep(Duration::MAX), sleep_until);
            self.0 = State::Sleeping(Box::pin(sleep));
        }
        match &mut self.0 {
            State::Sleeping(sleep) => sleep.as_mut().poll(context),
            State::Until(_) => Poll::Pending,
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Delay").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_over_after_its_time_from_when_it_was_made() {
        let began = Instant::now();
        let mut delay = Delay::new(3 * SECOND);
        tokio::time::advance(SECOND).await;
        assert!(poll!(&mut delay).is_pending());
        delay.await;
        assert_eq!(began.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_counts_from_now_on_whether_or_not_anybody_has_waited() {
        for waited in [false, true] {
            let mut delay = Delay::new(3 * SECOND);
            assert!(!waited || poll!(&mut delay).is_pending());
            tokio::time::advance(2 * SECOND).await;
            let began = Instant::now();
            delay.reset(3 * SECOND);
            delay.await;
            assert_eq!(began.elapsed(), 3 * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_that_is_over_stays_over_until_it_is_reset() {
        let mut delay = Delay::new(Duration::ZERO);
        (&mut delay).await;
        assert!(poll!(&mut delay).is_ready());
        delay.reset(SECOND);
        assert!(poll!(&mut delay).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_beyond_the_clock_never_comes() {
        let mut delay = Delay::new(Duration::MAX);
        assert!(poll!(&mut delay).is_pending());
        tokio::time::advance(1_000_000 * SECOND).await;
        assert!(poll!(&mut delay).is_pending());
    }

    #[test]
    fn a_delay_is_made_and_dropped_outside_of_a_runtime() {
        drop(Delay::new(SECOND));
    }
}
