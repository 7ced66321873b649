//! Locators: what a node keeps beside a blob so that replica rows can be rebuilt after a loss of the database.
//!
//! Invariant: nodes see 64 bytes that differ for each replica and say nothing; only a coordinator's master key opens them.
//!
//! Rejected: binding a locator to its blob. The blob's own AAD does that once its chunk is known, and the locator of a
//! store of unknown outcome stays good.

use proto::{FileId, Locator};
use rand::CryptoRng;

use crate::cipher::random_nonce;
use crate::{ChunkRef, MasterKey, OpenError, SealError};

const AAD: &[u8] = b"fsn v1 locator";

/// What a locator says: the chunk, and which sending of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkVersion {
    /// Which chunk of which file.
    pub chunk: ChunkRef,
    /// Grows with every time the chunk is sent.
    pub version: u64,
}

impl MasterKey {
    /// nonce\[12\] ‖ AES-256-GCM(file id\[16\] ‖ index:u32 BE ‖ version:u64 BE ‖ zero\[8\]) ‖ tag under
    /// HKDF-SHA256(master key, info = `fsn v1 locator`), AAD = `fsn v1 locator`.
    pub fn seal_locator(
        &self,
        stored: &ChunkVersion,
        rng: &mut impl CryptoRng,
    ) -> Result<Locator, SealError> {
        let mut bytes = [0; Locator::LEN];
        bytes[12..28].copy_from_slice(stored.chunk.file_id.as_bytes());
        bytes[28..32].copy_from_slice(&stored.chunk.index.to_be_bytes());
        bytes[32..40].copy_from_slice(&stored.version.to_be_bytes());
        let nonce = random_nonce(rng);
        self.locator_cipher.seal_between(&nonce, AAD, &mut bytes)?;
        Ok(Locator::from_bytes(bytes))
    }

    /// What the blob beside this locator is, if it was sealed under this key.
    pub fn open_locator(&self, locator: &Locator) -> Result<ChunkVersion, OpenError> {
        let mut bytes = *locator.as_bytes();
        self.locator_cipher.open_between(AAD, &mut bytes)?;
        let index = bytes[28..32].try_into().map_err(|_| OpenError)?;
        let version = bytes[32..40].try_into().map_err(|_| OpenError)?;
        Ok(ChunkVersion {
            chunk: ChunkRef {
                file_id: FileId::try_from(&bytes[12..28]).map_err(|_| OpenError)?,
                index: u32::from_be_bytes(index),
            },
            version: u64::from_be_bytes(version),
        })
    }
}
