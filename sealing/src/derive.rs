//! Keys made of keys: HKDF-SHA256.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) fn derive(key: &[u8; 32], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    expand(key, salt, info)
}

/// Of a secret of another length.
#[cfg(feature = "end-to-end")]
pub(crate) fn derive_from(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    expand(secret, salt, info)
}

/// A key of twice the length.
#[cfg(feature = "end-to-end")]
pub(crate) fn derive_long(key: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; 64]> {
    expand(key, &[], info)
}

fn expand<const N: usize>(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 8160) }
    let mut derived = Zeroizing::new([0; N]);
    // HKDF-SHA256 gives up to 8160 bytes.
    let _ = Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut derived[..]);
    derived
}
