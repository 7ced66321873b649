//! A file's data key (DEK): seals its chunks and opens them.
//!
//! Invariants: every blob gets a nonce of its own, at random. 2³² blobs under one key, a petabyte of default chunks, keep a
//! collision less likely than 2⁻³³. Keys are wiped when they are dropped. A key knows how it seals ([`Sealing`]), so that
//! nobody who has one can seal or open otherwise.
//!
//! Rejected: the data key itself for all chunks, which was version 1. What opens one chunk would open the file, so nothing
//! could ever be shown to prove what a blob holds. It costs a key schedule for each blob, some microseconds.

use std::fmt;

use bytes::{Bytes, BytesMut};
use proto::{BlobId, Sealing};
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::chunk::plaintext_bytes;
use crate::chunk_key::{ChunkKey, open};
use crate::cipher::{Cipher, NONCE_LEN, Nonce, random_nonce};
use crate::{ChunkRef, OpenError, PieceRef, SEALING_OVERHEAD, SealError, SealedBlob};

/// One for each file, made when its upload begins. The database has it wrapped ([`MasterKey::wrap`](crate::MasterKey::wrap)).
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    schedule: Schedule,
}

/// With what chunks are sealed.
enum Schedule {
    /// Version 1: all with this.
    Whole(Box<Cipher>),
    /// Version 2: each with its own.
    EachChunk,
}

impl DataKey {
    /// A fresh key that seals in this way.
    pub fn generate(sealing: Sealing, rng: &mut impl CryptoRng) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        Self::from_bytes(sealing, bytes)
    }

    pub(crate) fn from_bytes(
        sealing: Sealing,
        bytes: Zeroizing<[u8; 32]>,
    ) -> Result<Self, SealError> {
        let schedule = match sealing {
            Sealing::V1 => Schedule::Whole(Box::new(Cipher::new(&bytes)?)),
            Sealing::V2 => Schedule::EachChunk,
        };
        Ok(Self { bytes, schedule })
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// How it seals.
    pub const fn sealing(&self) -> Sealing {
        match self.schedule {
            Schedule::Whole(_) => Sealing::V1,
            Schedule::EachChunk => Sealing::V2,
        }
    }

    /// What opens this chunk and no other; `None` where only the key of the whole file does.
    pub fn chunk_key(&self, index: u32) -> Option<ChunkKey> {
        match self.schedule {
            Schedule::Whole(_) => None,
            Schedule::EachChunk => Some(ChunkKey::of(&self.bytes, index)),
        }
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
        let aad = chunk.aad(self.sealing(), plaintext_bytes(bytes)?);
        match &self.schedule {
            Schedule::Whole(cipher) => seal_as(cipher, &nonce, &aad, pieces),
            Schedule::EachChunk => {
                let key = ChunkKey::of(&self.bytes, chunk.index);
                seal_as(&Cipher::new(key.as_bytes())?, &nonce, &aad, pieces)
            }
        }
    }

    /// Seals one piece of a coded chunk, for one node.
    ///
    /// Refuses where one key seals all chunks: a piece is shown to nobody then, and no owner could check its code.
    pub fn seal_piece(
        &self,
        place: PieceRef,
        piece: &Bytes,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedBlob, SealError> {
        self.seal_piece_with(random_nonce(rng), place, piece)
    }

    #[inline(never)]
    fn seal_piece_with(
        &self,
        nonce: Nonce,
        place: PieceRef,
        piece: &Bytes,
    ) -> Result<SealedBlob, SealError> {
        let key = self.chunk_key(place.chunk.index);
        let key = key.ok_or(SealError::NoKeyForEachChunk)?;
        let cipher = Cipher::new(key.as_bytes())?;
        seal_as(&cipher, &nonce, &place.aad(), std::slice::from_ref(piece))
    }

    /// Opens a blob of a piece in place and returns the piece, a slice of the same memory.
    pub fn open_piece(&self, place: PieceRef, blob: BytesMut) -> Result<Bytes, OpenError> {
        let key = self.chunk_key(place.chunk.index).ok_or(OpenError)?;
        key.open_piece(place, blob)
    }

    /// Opens a blob in place and returns the chunk, a slice of the same memory.
    pub fn open(&self, chunk: ChunkRef, blob: BytesMut) -> Result<Bytes, OpenError> {
        match &self.schedule {
            Schedule::Whole(cipher) => open(cipher, Sealing::V1, chunk, blob),
            Schedule::EachChunk => ChunkKey::of(&self.bytes, chunk.index).open(chunk, blob),
        }
    }
}

fn seal_as(
    cipher: &Cipher,
    nonce: &Nonce,
    aad: &[u8],
    parts: &[Bytes],
) -> Result<SealedBlob, SealError> {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    let mut blob = BytesMut::with_capacity(bytes + SEALING_OVERHEAD);
    blob.extend_from_slice(nonce);
    parts.iter().for_each(|part| blob.extend_from_slice(part));
    let tag = cipher.seal(nonce, aad, &mut blob[NONCE_LEN..])?;
    blob.extend_from_slice(&tag);
    Ok(SealedBlob {
        blob_id: BlobId::of(&blob),
        data: blob.freeze(),
    })
}

impl ZeroizeOnDrop for DataKey {}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}
