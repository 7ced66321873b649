//! A file's data key (DEK): seals its chunks and opens them.
//!
//! Invariants: every blob gets a nonce of its own, at random. 2³² blobs under one key, a petabyte of default chunks, keep a
//! collision less likely than 2⁻³³. The key is wiped when it is dropped.
//!
//! Rejected: a key for each chunk, derived from the file's. It lifts a limit that no file meets, for a key schedule a chunk.

use std::fmt;

use bytes::{Bytes, BytesMut};
use proto::BlobId;
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::chunk::plaintext_bytes;
use crate::cipher::{Cipher, NONCE_LEN, Nonce, random_nonce};
use crate::{ChunkRef, OpenError, SEALING_OVERHEAD, SealError, SealedBlob};

/// One for each file, made when its upload begins. The database has it wrapped ([`MasterKey::wrap`](crate::MasterKey::wrap)).
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    cipher: Cipher,
}

impl DataKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        Self::from_bytes(bytes)
    }

    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Result<Self, SealError> {
        let cipher = Cipher::new(&bytes)?;
        Ok(Self { bytes, cipher })
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals a chunk that arrives in pieces, for one node; they are copied once, into the blob.
    ///
    /// Refuses a chunk of 4 GiB or more.
    pub fn seal(
        &self,
        chunk: ChunkRef,
        pieces: &[Bytes],
        rng: &mut impl CryptoRng,
    ) -> Result<SealedBlob, SealError> {
        self.seal_with(random_nonce(rng), chunk, pieces)
    }

    /// Not generic, hence compiled in this crate.
    #[inline(never)]
    fn seal_with(
        &self,
        nonce: Nonce,
        chunk: ChunkRef,
        pieces: &[Bytes],
    ) -> Result<SealedBlob, SealError> {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let aad = chunk.aad(plaintext_bytes(bytes)?);
        let mut blob = BytesMut::with_capacity(bytes + SEALING_OVERHEAD);
        blob.extend_from_slice(&nonce);
        for piece in pieces {
            blob.extend_from_slice(piece);
        }
        let tag = self.cipher.seal(&nonce, &aad, &mut blob[NONCE_LEN..])?;
        blob.extend_from_slice(&tag);
        Ok(SealedBlob {
            blob_id: BlobId::of(&blob),
            data: blob.freeze(),
        })
    }

    /// Opens a blob in place and returns the chunk, a slice of the same memory.
    pub fn open(&self, chunk: ChunkRef, mut blob: BytesMut) -> Result<Bytes, OpenError> {
        let bytes = blob.len().checked_sub(SEALING_OVERHEAD).ok_or(OpenError)?;
        let aad = chunk.aad(plaintext_bytes(bytes).map_err(|_| OpenError)?);
        self.cipher.open_between(&aad, &mut blob)?;
        Ok(blob.freeze().slice(NONCE_LEN..NONCE_LEN + bytes))
    }
}

impl ZeroizeOnDrop for DataKey {}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}
