//! How long exchanges take, for the decision to ask somebody else as well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SAMPLES: usize = 512;
/// The percentile is worked out anew after this many samples.
const REFRESH: usize = 64;

/// The 95th percentile of the latest exchanges, kept within bounds that make sense as a delay.
pub struct LatencyWindow {
    samples: Mutex<Ring>,
    p95_micros: AtomicU64,
    bounds: (Duration, Duration),
}

struct Ring {
    micros: Vec<u64>,
    next: usize,
}

impl LatencyWindow {
    pub fn new(least: Duration, most: Duration) -> Self {
        Self {
            samples: Mutex::new(Ring {
                micros: Vec::with_capacity(SAMPLES),
                next: 0,
            }),
            p95_micros: AtomicU64::new(most.as_micros() as u64),
            bounds: (least, most),
        }
    }

    pub fn record(&self, elapsed: Duration) {
        let micros = elapsed.as_micros().min(u128::from(u64::MAX)) as u64;
        let mut ring = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ring.next;
        if ring.micros.len() < SAMPLES {
            ring.micros.push(micros);
        } else {
            ring.micros[at] = micros;
        }
        ring.next = (at + 1) % SAMPLES;
        if at.is_multiple_of(REFRESH) {
            let mut sorted = ring.micros.clone();
            drop(ring);
            let rank = (sorted.len() * 95 / 100).min(sorted.len() - 1);
            let (_, p95, _) = sorted.select_nth_unstable(rank);
            self.p95_micros.store(*p95, Ordering::Relaxed);
        }
    }

    /// How long to wait before a second node is asked.
    pub fn hedge_delay(&self) -> Duration {
        let p95 = Duration::from_micros(self.p95_micros.load(Ordering::Relaxed));
        p95.clamp(self.bounds.0, self.bounds.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_the_95th_percentile_within_its_bounds() {
        let ms = Duration::from_millis;
        let window = LatencyWindow::new(ms(10), ms(2000));
        assert_eq!(window.hedge_delay(), ms(2000));
        for n in 0..SAMPLES {
            window.record(ms(if n % 10 == 0 { 300 } else { 20 }));
        }
        for _ in 0..REFRESH {
            window.record(ms(20));
        }
        assert!((ms(20)..=ms(300)).contains(&window.hedge_delay()));
        for _ in 0..2 * SAMPLES {
            window.record(Duration::ZERO);
        }
        assert_eq!(window.hedge_delay(), ms(10));
    }
}
