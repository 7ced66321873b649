//! The one place that reads the wall clock and the system's source of randomness. Everything else
//! is handed a time and a generator.

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::{StdRng, ThreadRng};

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A cryptographic generator, seeded by the system, for use on this thread.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn rng() -> ThreadRng {
    rand::rng()
}

/// A cryptographic generator that can move between threads.
pub fn sendable_rng() -> StdRng {
    StdRng::from_rng(&mut rng())
}
