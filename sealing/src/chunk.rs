//! What is sealed, as what, and what comes out.
//!
//! Invariant: a blob is bound to its chunk. File, index and length are authenticated with it, so that a coordinator
//! that fetches the wrong blob, or a node that swaps two, is noticed when it is opened.
//!
//! Rejected: one ciphertext for all replicas. It would save two thirds of the sealing, and a proof
//! would then show that somebody holds the bytes, not that this node does.

use bytes::Bytes;
use proto::{BlobId, FileId, Piece, Sealing};

use crate::SealError;

/// Which chunk of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkRef {
    /// The file.
    pub file_id: FileId,
    /// Counted from 0 in the order of the file.
    pub index: u32,
}

impl ChunkRef {
    /// What is authenticated with a blob of this chunk.
    pub(crate) fn aad(self, sealing: Sealing, plaintext_bytes: u32) -> [u8; 38] {
        let mut aad = [0; 38];
        aad[..14].copy_from_slice(match sealing {
            Sealing::V1 => b"fsn v1 replica",
            Sealing::V2 => b"fsn v2 replica",
        });
        aad[14..30].copy_from_slice(self.file_id.as_bytes());
        aad[30..34].copy_from_slice(&self.index.to_be_bytes());
        aad[34..].copy_from_slice(&plaintext_bytes.to_be_bytes());
        aad
    }
}

/// Which piece of which chunk, coded k of n.
///
/// The length of the whole chunk goes with it, as no piece says by itself where the padding begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceRef {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Which of its pieces, and the code.
    pub piece: Piece,
    /// Bytes of the chunk's plaintext.
    pub chunk_bytes: u32,
}

impl PieceRef {
    /// What is authenticated with a blob of this piece.
    pub(crate) fn aad(self) -> [u8; 39] {
        let mut aad = [0; 39];
        aad[..12].copy_from_slice(b"fsn v2 piece");
        aad[12..28].copy_from_slice(self.chunk.file_id.as_bytes());
        aad[28..32].copy_from_slice(&self.chunk.index.to_be_bytes());
        aad[32..35].copy_from_slice(&[
            self.piece.number(),
            self.piece.needed(),
            self.piece.pieces(),
        ]);
        aad[35..].copy_from_slice(&self.chunk_bytes.to_be_bytes());
        aad
    }
}

/// The length of a chunk, as its blob has it.
pub(crate) fn plaintext_bytes(bytes: usize) -> Result<u32, SealError> {
    u32::try_from(bytes).map_err(|_| SealError::TooLong { bytes })
}

/// A replica ready to be sent to one node; a hedge or a repair seals afresh.
#[derive(Debug, Clone)]
pub struct SealedBlob {
    /// The BLAKE3 hash of the bytes.
    pub blob_id: BlobId,
    /// nonce ‖ ciphertext ‖ tag.
    pub data: Bytes,
}
