//! AES-256-GCM where the text lies, and its frame: nonce ‖ text ‖ tag.
//!
//! Invariants: nothing here is generic once it is compiled, so that callers in unoptimised crates run optimised code;
//! texts are sealed and opened in place. A library's key schedule is wiped when it is dropped.
//!
//! Rejected: AES-CTR and GHASH in turns over pieces that fit the first cache. aes-gcm makes two passes over a text, and
//! whether the second finds it in the first or the second cache makes no difference that can be measured.

#[cfg(any(not(feature = "aws-lc"), feature = "comparison"))]
pub(crate) mod aes_gcm;
#[cfg(any(feature = "aws-lc", feature = "comparison"))]
pub(crate) mod aws_lc;

use rand::CryptoRng;
use zeroize::ZeroizeOnDrop;

use crate::{OpenError, SealError};

pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;

/// What sealing adds to a text.
pub const SEALING_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

pub(crate) type Nonce = [u8; NONCE_LEN];
pub(crate) type Tag = [u8; TAG_LEN];

/// What a library has to offer. Implementations are not inlined.
pub(crate) trait Aes256Gcm: Sized + ZeroizeOnDrop {
    fn new(key: &[u8; 32]) -> Result<Self, SealError>;

    /// Seals the text where it lies.
    fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Result<Tag, SealError>;

    /// Opens text ‖ tag where they lie. If it fails, what is there means nothing any more.
    fn open(&self, nonce: &Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), OpenError>;
}

#[cfg(not(feature = "aws-lc"))]
type Library = aes_gcm::Library;
#[cfg(feature = "aws-lc")]
type Library = aws_lc::Library;

/// A key of AES-256-GCM in the library that this build seals with.
pub(crate) struct Cipher(Library);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        Library::new(key).map(Self)
    }

    /// Seals the text where it lies.
    pub(crate) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<Tag, SealError> {
        self.0.seal(nonce, aad, text)
    }

    /// Seals what lies between the places of the nonce and the tag, and writes those.
    pub(crate) fn seal_between<const N: usize>(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        blob: &mut [u8; N],
    ) -> Result<(), SealError> {
        const { assert!(N >= SEALING_OVERHEAD) }
        let (head, rest) = blob.split_at_mut(NONCE_LEN);
        let (text, tail) = rest.split_at_mut(N - SEALING_OVERHEAD);
        tail.copy_from_slice(&self.seal(nonce, aad, text)?);
        head.copy_from_slice(nonce);
        Ok(())
    }

    /// Opens the text where it lies, between the nonce and the tag.
    pub(crate) fn open_between(&self, aad: &[u8], blob: &mut [u8]) -> Result<(), OpenError> {
        let (nonce, sealed) = blob.split_first_chunk_mut().ok_or(OpenError)?;
        self.0.open(nonce, aad, sealed)
    }
}

impl ZeroizeOnDrop for Cipher {}

pub(crate) fn random_nonce(rng: &mut impl CryptoRng) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    nonce
}
