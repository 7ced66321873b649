//! What the cluster's own account and database are protected with: made anew for each cluster, so that none
//! stands in the source.

use rand::{CryptoRng, RngExt};

/// A password of 128 random bits, in hex.
pub fn new_secret(random: &mut impl CryptoRng) -> String {
    hex::encode(random.random::<[u8; 16]>())
}
