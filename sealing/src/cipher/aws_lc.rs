//! AES-256-GCM of aws-lc: assembly, which also has GHASH on 512 bits (VPCLMULQDQ).
//!
//! The peer network's TLS brings the library along, so that it costs nothing to link. aws-lc wipes keys when it frees them.
//!
//! Rejected: as the default. Sealing would hang on a C library wherever this crate is used, and clients have no TLS of it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as AwsNonce, UnboundKey};
use zeroize::ZeroizeOnDrop;

use super::{Aes256Gcm, Nonce, Tag};
use crate::{OpenError, SealError};

pub(crate) struct Library(LessSafeKey);

impl Aes256Gcm for Library {
    #[inline(never)]
    fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Library)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    #[inline(never)]
    fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Result<Tag, SealError> {
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.map_err(|_| SealError::Library)?;
        tag.as_ref().try_into().map_err(|_| SealError::Library)
    }

    #[inline(never)]
    fn open(&self, nonce: &Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), OpenError> {
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(aad), sealed);
        opened.map(|_| ()).map_err(|_| OpenError)
    }
}

impl ZeroizeOnDrop for Library {}
