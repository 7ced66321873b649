//! Keys made of keys: HKDF-SHA256.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) fn derive(key: &[u8; 32], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    // HKDF-SHA256 gives up to 8160 bytes; 32 always fit.
    let _ = Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut derived[..]);
    derived
}
