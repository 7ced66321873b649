//! The one place that reads the wall clock and the system's source of randomness. Everything else
//! is handed a clock or a time, and a generator.

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::{StdRng, ThreadRng};

/// For what needs the time again and again.
pub type Clock = fn() -> Timestamp;

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A cryptographic generator that is seeded by the system and can move between threads.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn rng() -> StdRng {
    let mut source: ThreadRng = rand::rng();
    StdRng::from_rng(&mut source)
}

/// Unix milliseconds, as they stand on disk and in receipts. Times before 1970 count as 1970.
pub fn unix_ms(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}
