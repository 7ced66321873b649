//! How long a client that sends a body is waited for: 64 KiB in the first five seconds, 96 in the next, then 128, then
//! 160 in every five (32 KiB/s). Only time that is spent waiting for the client counts, not time in which nobody reads
//! because nodes or memory are short. Who has sent more than that may pause, but never for longer than a limit.

use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(5);
const KIB: u64 = 1024;
/// Bytes of the first windows, and of every one after them.
const RISING: [u64; 3] = [64 * KIB, 96 * KIB, 128 * KIB];
const HIGHEST: u64 = 160 * KIB;

/// One body, as far as it has come.
#[derive(Debug, Clone, Copy)]
pub struct LeastRate {
    longest_pause: Duration,
    waited: Duration,
    /// What counts of it: no more than buys the longest pause.
    received: u64,
}

/// Bytes that must have come when so many windows are over.
fn required(windows: u64) -> u64 {
    let rising: u64 = RISING.iter().take(windows as usize).sum();
    rising + windows.saturating_sub(RISING.len() as u64) * HIGHEST
}

/// The first window at whose end so many bytes are too few.
fn last_window(received: u64) -> u64 {
    let rising = (1..=RISING.len() as u64).find(|windows| required(*windows) > received);
    rising.unwrap_or_else(|| {
        let beyond = received - required(RISING.len() as u64);
        RISING.len() as u64 + beyond / HIGHEST + 1
    })
}

impl LeastRate {
    pub fn new(longest_pause: Duration) -> Self {
        Self {
            longest_pause,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    /// How much longer the client may let us wait for its next bytes.
    pub fn patience(&self) -> Duration {
        let windows = u32::try_from(last_window(self.received)).unwrap_or(u32::MAX);
        let until = WINDOW.saturating_mul(windows);
        until.saturating_sub(self.waited).min(self.longest_pause)
    }

    /// So many bytes have come after a wait.
    pub fn note(&mut self, waited: Duration, bytes: usize) {
        self.waited += waited;
        let windows = (self.waited + self.longest_pause).as_secs() / WINDOW.as_secs() + 1;
        let most = required(windows);
        self.received = (self.received + bytes as u64).min(most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_sends_nothing_or_too_little_is_waited_for_no_longer_than_five_seconds() {
        let mut rate = LeastRate::new(MINUTE);
        assert_eq!(rate.patience(), 5 * SECOND);
        rate.note(4 * SECOND, 64 * 1024 - 1);
        assert_eq!(rate.patience(), SECOND);
        rate.note(SECOND, 0);
        assert_eq!(rate.patience(), Duration::ZERO);
    }

    #[test]
    fn the_rate_rises_and_then_stays() {
        let mut rate = LeastRate::new(MINUTE);
        let mut sent = 0;
        for (second, kib) in [(5, 64), (10, 160), (15, 288), (20, 448), (25, 608)] {
            let mut too_slow = rate;
            too_slow.note(5 * SECOND, kib * 1024 - sent - 1);
            assert_eq!(too_slow.patience(), Duration::ZERO, "at {second} s");
            rate.note(5 * SECOND, kib * 1024 - sent);
            assert_eq!(rate.patience(), 5 * SECOND, "at {second} s");
            sent = kib * 1024;
        }
    }

    #[test]
    fn who_was_fast_may_pause_but_not_for_ever_and_not_twice() {
        let mut rate = LeastRate::new(MINUTE);
        rate.note(SECOND, 1 << 40);
        assert_eq!(rate.patience(), MINUTE);
        rate.note(59 * SECOND, 1);
        assert!(rate.patience() <= 11 * SECOND, "{:?}", rate.patience());
    }

    proptest! {
        #[test]
        fn a_steady_client_of_32_kib_a_second_is_never_cut(pauses in prop::collection::vec(1_u64..2000, 1..200)) {
            let mut rate = LeastRate::new(MINUTE);
            for milliseconds in pauses {
                let pause = Duration::from_millis(milliseconds);
                prop_assert!(pause <= rate.patience());
                rate.note(pause, (milliseconds * 32 * 1024).div_ceil(1000) as usize);
            }
        }

        #[test]
        fn nobody_is_waited_for_who_is_more_than_a_window_behind(
            steps in prop::collection::vec((0_u64..60_000, 0_usize..300_000), 1..300),
        ) {
            let mut rate = LeastRate::new(MINUTE);
            let (mut waited, mut sent) = (Duration::ZERO, 0_u64);
            for (milliseconds, bytes) in steps {
                let pause = Duration::from_millis(milliseconds).min(rate.patience());
                waited += pause;
                prop_assert!(sent >= required((waited.as_secs() / 5).saturating_sub(1)));
                sent += bytes as u64;
                rate.note(pause, bytes);
            }
        }
    }
}
