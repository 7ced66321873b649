//! Master keys: wrap the data keys of files and other secrets (`secret.rs`), and seal locators (`locator.rs`).
//!
//! Invariants: a wrapped key opens for its own file, as a key of its own version, and under the master key of its own id
//! only: a program that knows one version only cannot take a key of another for its own, and seal with it. Rotation
//! wraps data keys anew and touches no blob. Keys that are derived, and the key itself, are wiped when they are dropped.
//!
//! Rejected: wrapping under the master key itself. A key for each file leaves no nonces to count across files.

use std::fmt;

use proto::{FileId, Sealing};
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::cipher::{Cipher, NONCE_LEN, SEALING_OVERHEAD, random_nonce};
use crate::derive::derive;
use crate::{DataKey, OpenError, SealError};

/// Length of a wrapped data key.
pub const WRAPPED_KEY_LEN: usize = 32 + SEALING_OVERHEAD;

/// A key that wraps data keys and seals locators. Its bytes come from a file, never the database.
pub struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
    pub(crate) locator_cipher: Cipher,
}

impl MasterKey {
    /// Of the key with this id.
    pub fn new(id: String, bytes: Zeroizing<[u8; 32]>) -> Result<Self, SealError> {
        let locator_key = derive(&bytes, &[], b"fsn v1 locator");
        Ok(Self {
            locator_cipher: Cipher::new(&locator_key)?,
            id,
            bytes,
        })
    }

    /// By which the database names it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// nonce\[12\] ‖ AES-256-GCM(DEK) ‖ tag under HKDF-SHA256(master key, salt = file id, info), AAD = file id ‖
    /// master-key id; info is `fsn v1 wrap` or, of a key that seals each chunk under its own, `fsn v2 wrap`.
    pub fn wrap(
        &self,
        file_id: FileId,
        key: &DataKey,
        rng: &mut impl CryptoRng,
    ) -> Result<[u8; WRAPPED_KEY_LEN], SealError> {
        let cipher = self.wrapping_cipher(file_id, key.sealing())?;
        let mut wrapped = [0; WRAPPED_KEY_LEN];
        wrapped[NONCE_LEN..NONCE_LEN + 32].copy_from_slice(key.as_bytes());
        cipher.seal_between(&random_nonce(rng), &self.wrap_aad(file_id), &mut wrapped)?;
        Ok(wrapped)
    }

    /// The data key that was wrapped for this file.
    pub fn unwrap(
        &self,
        file_id: FileId,
        sealing: Sealing,
        wrapped: &[u8],
    ) -> Result<DataKey, OpenError> {
        let mut wrapped: Zeroizing<[u8; WRAPPED_KEY_LEN]> =
            Zeroizing::new(wrapped.try_into().map_err(|_| OpenError)?);
        let cipher = self.wrapping_cipher(file_id, sealing);
        let cipher = cipher.map_err(|_| OpenError)?;
        cipher.open_between(&self.wrap_aad(file_id), &mut wrapped[..])?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&wrapped[NONCE_LEN..NONCE_LEN + 32]);
        DataKey::from_bytes(sealing, bytes).map_err(|_| OpenError)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    fn wrapping_cipher(&self, file_id: FileId, sealing: Sealing) -> Result<Cipher, SealError> {
        let info = match sealing {
            Sealing::V1 => b"fsn v1 wrap",
            Sealing::V2 => b"fsn v2 wrap",
        };
        Cipher::new(&derive(&self.bytes, file_id.as_bytes(), info))
    }

    fn wrap_aad(&self, file_id: FileId) -> Vec<u8> {
        [file_id.as_bytes(), self.id.as_bytes()].concat()
    }
}

impl ZeroizeOnDrop for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}
