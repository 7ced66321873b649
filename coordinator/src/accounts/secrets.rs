//! Random secrets that are handed out once and kept hashed: refresh tokens, API keys, node tokens.

use rand::CryptoRng;
use zeroize::Zeroizing;

/// 32 random bytes behind a prefix that says what they are for.
pub fn generate(prefix: &str, rng: &mut impl CryptoRng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut bytes[..]);
    Zeroizing::new(format!("{prefix}_{}", hex::encode(&bytes[..])))
}

/// What is kept. The secrets have 256 bits of chance, so a plain hash is as good as a slow one.
pub fn hash(secret: &str) -> [u8; 32] {
    blake3::derive_key("fsn secret v1", secret.as_bytes())
}
