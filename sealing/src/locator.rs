//! Locators: what a node keeps beside a blob so that replica rows can be rebuilt after a loss of the database.
//!
//! Invariant: nodes see 64 bytes that differ for each replica and say nothing; only a coordinator's master key opens them.
//!
//! Rejected: binding the locator of a copy to its blob. The blob's own AAD does that once its chunk is known, and whether it
//! is the newest content the chunk's digest tells. No digest tells it of a single piece, so the locator of a piece has the
//! first bytes of its blob's id: a node cannot put a piece of an older content beside the locator of a newer one.

use proto::{BlobId, FileId, Locator, Piece};
use rand::CryptoRng;

use crate::cipher::random_nonce;
use crate::{ChunkRef, MasterKey, OpenError, SealError};

const AAD: &[u8] = b"fsn v1 locator";

/// Bytes of a blob's id in the locator of a piece. Who has no key finds no other blob that begins so: his choice is among
/// those that he was sent.
const BLOB_PREFIX: usize = 5;

/// What a locator says: the chunk, and which sending of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkVersion {
    /// Which chunk of which file.
    pub chunk: ChunkRef,
    /// Grows with every time the chunk is sent.
    pub version: u64,
}

/// What the locator of a piece says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocatedPiece {
    /// Which piece, and the code.
    pub piece: Piece,
    blob_prefix: [u8; BLOB_PREFIX],
}

impl LocatedPiece {
    /// Of this blob.
    pub fn new(piece: Piece, blob: BlobId) -> Self {
        let mut blob_prefix = [0; BLOB_PREFIX];
        blob_prefix.copy_from_slice(&blob.as_bytes()[..BLOB_PREFIX]);
        Self { piece, blob_prefix }
    }

    /// Whether the locator was made for this blob.
    pub fn is_of(&self, blob: BlobId) -> bool {
        blob.as_bytes().starts_with(&self.blob_prefix)
    }
}

/// All that a locator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The chunk, and which sending of it.
    pub place: ChunkVersion,
    /// `None` of a whole copy.
    pub piece: Option<LocatedPiece>,
}

impl From<ChunkVersion> for Located {
    /// A copy.
    fn from(place: ChunkVersion) -> Self {
        Self { place, piece: None }
    }
}

impl MasterKey {
    /// nonce\[12\] ‖ AES-256-GCM(file id\[16\] ‖ index:u32 BE ‖ version:u64 BE ‖ rest\[8\]) ‖ tag under
    /// HKDF-SHA256(master key, info = `fsn v1 locator`), AAD = `fsn v1 locator`. The rest is zero of a copy, and
    /// piece ‖ k ‖ n ‖ the first five bytes of the blob's id of a piece.
    pub fn seal_locator(
        &self,
        stored: &Located,
        rng: &mut impl CryptoRng,
    ) -> Result<Locator, SealError> {
        let mut bytes = [0; Locator::LEN];
        let place = &stored.place;
        bytes[12..28].copy_from_slice(place.chunk.file_id.as_bytes());
        bytes[28..32].copy_from_slice(&place.chunk.index.to_be_bytes());
        bytes[32..40].copy_from_slice(&place.version.to_be_bytes());
        if let Some(LocatedPiece { piece, blob_prefix }) = &stored.piece {
            bytes[40..43].copy_from_slice(&[piece.number(), piece.needed(), piece.pieces()]);
            bytes[43..48].copy_from_slice(blob_prefix);
        }
        let nonce = random_nonce(rng);
        self.locator_cipher.seal_between(&nonce, AAD, &mut bytes)?;
        Ok(Locator::from_bytes(bytes))
    }

    /// What the blob beside this locator is, if it was sealed under this key.
    pub fn open_locator(&self, locator: &Locator) -> Result<Located, OpenError> {
        let mut bytes = *locator.as_bytes();
        self.locator_cipher.open_between(AAD, &mut bytes)?;
        let index = bytes[28..32].try_into().map_err(|_| OpenError)?;
        let version = bytes[32..40].try_into().map_err(|_| OpenError)?;
        let place = ChunkVersion {
            chunk: ChunkRef {
                file_id: FileId::try_from(&bytes[12..28]).map_err(|_| OpenError)?,
                index: u32::from_be_bytes(index),
            },
            version: u64::from_be_bytes(version),
        };
        let rest: [u8; 8] = bytes[40..48].try_into().map_err(|_| OpenError)?;
        let piece = match rest {
            [0, 0, 0, ..] => None,
            [number, needed, pieces, blob_prefix @ ..] => {
                let piece = Piece::new(number, needed, pieces).map_err(|_| OpenError)?;
                // Copies have no number.
                let piece = Some(piece).filter(|piece| !piece.is_copy());
                Some(LocatedPiece {
                    piece: piece.ok_or(OpenError)?,
                    blob_prefix,
                })
            }
        };
        Ok(Located { place, piece })
    }
}
