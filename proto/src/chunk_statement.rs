//! What a coordinator signs of a blob: which chunk of which file it is, and what opens it.
//!
//! A receipt says that a node holds a blob; nothing in it says whose. The statement binds the blob to the file and to the
//! plaintext that the file's owner knows; the opening shows a key under which the blob gives that plaintext and no other
//! chunk's. One type serves whole copies and coded pieces.
//!
//! Rejected: the node as a field, which the receipt for the same blob names already; and a time, without which the same
//! words have the same signature.

use libp2p_identity::{Keypair, PeerId};

use crate::signing::SignedBytes;
use crate::{
    BlobId, ChunkSha256, FileId, InvalidSignature, Malformed, NetworkId, Signature, VerifyingKey,
};

/// How the chunks of a file are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sealing {
    /// All of them under the file's data key. What opens one opens all, so none is ever shown.
    V1 = 1,
    /// Each under a key of its own, derived from the file's.
    V2 = 2,
}

impl Sealing {
    /// What this version of the programs can read, and writes when all others can.
    pub const NEWEST: Self = Self::V2;

    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for Sealing {
    type Error = Malformed;

    fn try_from(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(Malformed("an unknown version of sealing")),
        }
    }
}

/// Which part of its chunk a blob holds: any `needed` of the `pieces` give the chunk back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    number: u8,
    needed: u8,
    pieces: u8,
}

impl Piece {
    /// One of so many copies, each the whole chunk.
    pub const fn copy(copies: u8) -> Result<Self, Malformed> {
        Self::new(0, 1, copies)
    }

    /// Copies (1 of n) are all alike and have the number 0; coded pieces (k of n) are counted from 0.
    pub const fn new(number: u8, needed: u8, pieces: u8) -> Result<Self, Malformed> {
        if needed == 0 || pieces < needed || (needed > 1 && pieces == needed) {
            return Err(Malformed(
                "no code has so many pieces of which so many are needed",
            ));
        }
        if number >= pieces || (needed == 1 && number != 0) {
            return Err(Malformed("there is no such piece"));
        }
        Ok(Self {
            number,
            needed,
            pieces,
        })
    }

    pub const fn number(self) -> u8 {
        self.number
    }

    pub const fn needed(self) -> u8 {
        self.needed
    }

    pub const fn pieces(self) -> u8 {
        self.pieces
    }

    pub const fn is_copy(self) -> bool {
        self.needed == 1
    }
}

/// A coordinator's "this blob is that chunk of that file".
///
/// Signed: `"fsn chunk v1" ‖ network_id[32] ‖ coordinator[38] ‖ file_id[16] ‖ index:u32 ‖ chunk_bytes:u32 ‖
/// chunk_sha256[32] ‖ piece:u8 ‖ k:u8 ‖ n:u8 ‖ sealing:u8 ‖ blob_id[32] ‖ length:u64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkStatement {
    pub network_id: NetworkId,
    /// Who signs.
    pub coordinator: PeerId,
    pub file_id: FileId,
    /// Of the chunk in its file, from 0.
    pub index: u32,
    /// Length of the chunk's plaintext.
    pub chunk_bytes: u32,
    pub chunk_sha256: ChunkSha256,
    pub piece: Piece,
    pub sealing: Sealing,
    pub blob_id: BlobId,
    /// Bytes of the blob.
    pub length: u64,
}

impl ChunkStatement {
    pub fn signed_bytes(&self) -> Vec<u8> {
        let piece = self.piece;
        SignedBytes::new("fsn chunk v1")
            .raw(self.network_id.as_bytes())
            .raw(&self.coordinator.to_bytes())
            .raw(self.file_id.as_bytes())
            .raw(&self.index.to_le_bytes())
            .raw(&self.chunk_bytes.to_le_bytes())
            .raw(self.chunk_sha256.as_bytes())
            .raw(&[
                piece.number,
                piece.needed,
                piece.pieces,
                self.sealing.number(),
            ])
            .raw(self.blob_id.as_bytes())
            .u64(self.length)
            .finish()
    }

    pub fn sign(&self, coordinator: &Keypair) -> Result<Signature, Malformed> {
        Signature::sign(coordinator, &self.signed_bytes())
    }

    pub fn verify(&self, signature: &Signature) -> Result<(), InvalidSignature> {
        verify(&self.coordinator, &self.signed_bytes(), signature)
    }
}

/// A coordinator's "with this key the blob gives the chunk".
///
/// Signed: `"fsn opening v1" ‖ network_id[32] ‖ BLAKE3(the statement's signed bytes)[32] ‖ chunk_key[32]`, by the
/// coordinator that the statement names.
#[derive(Clone, Copy)]
pub struct ChunkOpening<'a> {
    pub statement: &'a ChunkStatement,
    pub chunk_key: &'a [u8; 32],
}

impl ChunkOpening<'_> {
    pub fn signed_bytes(&self) -> Vec<u8> {
        let statement = blake3::hash(&self.statement.signed_bytes());
        SignedBytes::new("fsn opening v1")
            .raw(self.statement.network_id.as_bytes())
            .raw(statement.as_bytes())
            .raw(self.chunk_key)
            .finish()
    }

    pub fn sign(&self, coordinator: &Keypair) -> Result<Signature, Malformed> {
        Signature::sign(coordinator, &self.signed_bytes())
    }

    pub fn verify(&self, signature: &Signature) -> Result<(), InvalidSignature> {
        verify(&self.statement.coordinator, &self.signed_bytes(), signature)
    }
}

impl std::fmt::Debug for ChunkOpening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkOpening({:?}, ..)", self.statement)
    }
}

fn verify(signer: &PeerId, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
    VerifyingKey::of_peer(signer)
        .map_err(|_| InvalidSignature)?
        .verify(message, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_the_number_0_and_pieces_of_a_code_are_counted() {
        assert_eq!(Piece::copy(3), Piece::new(0, 1, 3));
        assert!(Piece::copy(3).unwrap().is_copy());
        assert!(Piece::new(11, 8, 12).is_ok());
        for (number, needed, pieces) in [
            (1, 1, 3),
            (0, 0, 3),
            (0, 1, 0),
            (12, 8, 12),
            (0, 8, 8),
            (0, 8, 7),
        ] {
            let refused = Piece::new(number, needed, pieces);
            assert!(refused.is_err(), "{number}, {needed} of {pieces}");
        }
    }

    #[test]
    fn what_opens_a_chunk_does_not_show_in_debug_output() {
        let keypair = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let statement = ChunkStatement {
            network_id: NetworkId::from_bytes([9; 32]),
            coordinator: keypair.public().to_peer_id(),
            file_id: FileId::from_bytes([1; 16]),
            index: 0,
            chunk_bytes: 4,
            chunk_sha256: ChunkSha256::from_bytes([2; 32]),
            piece: Piece::copy(3).unwrap(),
            sealing: Sealing::V2,
            blob_id: BlobId::of(b"blob"),
            length: 32,
        };
        let opening = ChunkOpening {
            statement: &statement,
            chunk_key: &[7; 32],
        };
        assert!(!format!("{opening:?}").contains("7, 7"));
    }
}
