//! The one place of this crate that reads the system's random source.

use rand::{CryptoRng, RngExt};

#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the program, which hands it in"
)]
pub fn random_source() -> impl CryptoRng {
    rand::rng()
}

/// A password of 128 random bits, in hex.
pub fn secret(random: &mut impl CryptoRng) -> String {
    hex::encode(random.random::<[u8; 16]>())
}
