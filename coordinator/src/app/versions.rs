//! Versions of chunks: which sending of a chunk is the newest.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// Unix milliseconds, made strictly increasing within this process.
#[derive(Debug, Default)]
pub struct Versions(AtomicU64);

impl Versions {
    pub fn next(&self) -> u64 {
        let now = u64::try_from(clock::now().as_millisecond()).unwrap_or(0);
        let before = self
            .0
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
        let versions = Versions::default();
        let drawn: Vec<u64> = (0..1000).map(|_| versions.next()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
