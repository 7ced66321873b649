//! Randomness, handed down: the one place that reads the system's source of it.
//!
//! An [`Entropy`] makes generators; whoever draws gets one of its own, so that nobody waits for a lock while
//! somebody draws. From a seed each call gives another stream, and the same streams in the same order: a test
//! that fails can be run again. Rejected: one shared generator, whose draws depend on who comes first.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::{Builder, Uuid};

use crate::clock::unix_ms;

/// A source of generators. Clones are the same source.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Entropy {
    /// The operating system's randomness: good for keys.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// For tests and simulations: everything that comes of it can be had again, by anybody.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(
            seed,
        )))))
    }

    /// A cryptographic generator that can move between threads.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn rng(&self) -> StdRng {
        match &self.0 {
            Source::System => StdRng::from_rng(&mut rand::rng()),
            Source::Seeded(source) => source.lock().unwrap_or_else(PoisonError::into_inner).fork(),
        }
    }

    /// A version 7 UUID that sorts by `now`.
    pub fn uuid_v7(&self, now: Timestamp) -> Uuid {
        uuid_v7(now, &mut self.rng())
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::System => "Entropy(system)",
            Source::Seeded(_) => "Entropy(seeded)",
        })
    }
}

/// A version 7 UUID: sorts by `now`, unique by `rng`.
pub fn uuid_v7(now: Timestamp, rng: &mut impl Rng) -> Uuid {
    Builder::from_unix_timestamp_millis(unix_ms(now), &rng.random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let mut rng = Entropy::seeded(1).rng();
        let mut at = |ms| uuid_v7(Timestamp::from_millisecond(ms).unwrap(), &mut rng);
        let (early, late) = (at(1_000_000), at(1_000_001));
        assert!(early < late);
        assert_eq!(early.get_version_num(), 7);
    }

    #[test]
    fn a_seed_gives_different_streams_and_the_same_ones_again() {
        let draw = |entropy: &Entropy| entropy.rng().random::<u64>();
        let (one, again) = (Entropy::seeded(7), Entropy::seeded(7));
        let drawn = [draw(&one), draw(&one), draw(&one.clone())];
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
        assert_eq!(drawn, [draw(&again), draw(&again), draw(&again)]);
        assert_ne!(draw(&Entropy::seeded(8)), drawn[0]);
    }

    #[test]
    fn the_system_never_repeats_itself() {
        let entropy = Entropy::system();
        let now = Timestamp::UNIX_EPOCH;
        assert_ne!(entropy.uuid_v7(now), entropy.uuid_v7(now));
    }
}
