//! AES-256-GCM of the crate `aes-gcm`.
//!
//! What the processor has is found out when a key is made: AES with VAES on 512 or 256 bits or AES-NI, GHASH with
//! PCLMULQDQ; the ARMv8 extensions; otherwise code that takes the same time for all bytes. No compiler flags are needed.
//!
//! Rejected: `Aes256Gcm` as the crate defines it. It expands the key for decryption of blocks, too, which GCM never does.

use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use zeroize::ZeroizeOnDrop;

use super::{Aes256Gcm, Nonce, TAG_LEN, Tag};
use crate::{OpenError, SealError};

#[derive(ZeroizeOnDrop)]
pub(crate) struct Library(AesGcm<Aes256Enc, U12>);

impl Aes256Gcm for Library {
    #[inline(never)]
    fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        Ok(Self(AesGcm::new(key.into())))
    }

    #[inline(never)]
    fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Result<Tag, SealError> {
        let tag = self
            .0
            .encrypt_inout_detached(nonce.into(), aad, text.into());
        tag.map(Into::into).map_err(|_| SealError::Library)
    }

    #[inline(never)]
    fn open(&self, nonce: &Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), OpenError> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError)?;
        self.0
            .decrypt_inout_detached(nonce.into(), aad, text.into(), (&*tag).into())
            .map_err(|_| OpenError)
    }
}
