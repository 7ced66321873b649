//! Versions of chunks: which sending of a chunk is the newest.

use std::sync::atomic::{AtomicU64, Ordering};

use kit::{Clock, unix_ms};

/// Unix milliseconds, made strictly increasing within this process.
#[derive(Debug)]
pub struct Versions {
    clock: Clock,
    last: AtomicU64,
}

impl Versions {
    pub const fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: AtomicU64::new(0),
        }
    }

    pub fn next(&self) -> u64 {
        let now = unix_ms(self.clock.now());
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(now.max(last + 1))
            })
            .unwrap_or_else(|last| last);
        now.max(before + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_only_grow() {
        let versions = Versions::new(Clock::system());
        let drawn: Vec<u64> = (0..1000).map(|_| versions.next()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
