//! The key of one chunk: what an owner is shown, so that he can open what a node holds.
//!
//! Invariant: it opens the blobs of its chunk and of no other. It is derived from the file's data key by a one-way
//! function, so it gives away neither that key nor the key of any other chunk.
//!
//! Rejected: showing the key stream of one blob in its place. Without the key nobody can check a tag, and whoever hands
//! out blob, key stream and text could have made up all three.

use std::fmt;

use bytes::{Bytes, BytesMut};
use proto::{ChunkSha256, Sealing};
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::chunk::plaintext_bytes;
use crate::cipher::{Cipher, NONCE_LEN};
use crate::derive::derive;
use crate::{ChunkRef, OpenError, PieceRef, SEALING_OVERHEAD};

/// HKDF-SHA256(data key, info = `fsn v2 chunk` ‖ index:u32 BE).
pub struct ChunkKey(Zeroizing<[u8; 32]>);

impl ChunkKey {
    pub(crate) fn of(data_key: &[u8; 32], index: u32) -> Self {
        let mut info = *b"fsn v2 chunk\0\0\0\0";
        info[12..].copy_from_slice(&index.to_be_bytes());
        Self(derive(data_key, &[], &info))
    }

    /// One that was shown.
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// To be shown to the file's owner.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Opens a blob of this chunk in place and returns the chunk, a slice of the same memory.
    pub fn open(&self, chunk: ChunkRef, blob: BytesMut) -> Result<Bytes, OpenError> {
        let cipher = Cipher::new(&self.0).map_err(|_| OpenError)?;
        open(&cipher, Sealing::V2, chunk, blob)
    }

    /// Opens a blob of a piece of this chunk in place and returns the piece, padding and all.
    pub fn open_piece(&self, piece: PieceRef, blob: BytesMut) -> Result<Bytes, OpenError> {
        let cipher = Cipher::new(&self.0).map_err(|_| OpenError)?;
        open_as(&cipher, &piece.aad(), blob)
    }
}

impl ZeroizeOnDrop for ChunkKey {}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(..)")
    }
}

/// What a blob turns out to hold under a key that was shown for it: digest and length of the chunk.
pub fn content_of(
    chunk_key: &[u8; 32],
    chunk: ChunkRef,
    blob: BytesMut,
) -> Result<(ChunkSha256, u32), OpenError> {
    let text = ChunkKey::from_bytes(Zeroizing::new(*chunk_key)).open(chunk, blob)?;
    let length = plaintext_bytes(text.len()).map_err(|_| OpenError)?;
    let digest = Sha256::digest(&text).into();
    Ok((ChunkSha256::from_bytes(digest), length))
}

/// Opens a blob of a whole chunk where it lies.
pub(crate) fn open(
    cipher: &Cipher,
    sealing: Sealing,
    chunk: ChunkRef,
    blob: BytesMut,
) -> Result<Bytes, OpenError> {
    let bytes = blob.len().checked_sub(SEALING_OVERHEAD).ok_or(OpenError)?;
    let aad = chunk.aad(sealing, plaintext_bytes(bytes).map_err(|_| OpenError)?);
    open_as(cipher, &aad, blob)
}

fn open_as(cipher: &Cipher, aad: &[u8], mut blob: BytesMut) -> Result<Bytes, OpenError> {
    let bytes = blob.len().checked_sub(SEALING_OVERHEAD).ok_or(OpenError)?;
    cipher.open_between(aad, &mut blob)?;
    Ok(blob.freeze().slice(NONCE_LEN..NONCE_LEN + bytes))
}
