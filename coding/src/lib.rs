//! Erasure coding: a chunk as n pieces, of which any k give it back.
//!
//! Pure: no I/O, no keys. Pieces `0..k` are the chunk itself, cut into stretches of one length, the last padded with zeros;
//! the others are parity of Reed-Solomon over GF(2¹⁶), by the crate `reed-solomon-simd`. A piece is sealed and stored as a
//! blob of its own, so nothing here checks that a piece is what it says: that is what its seal is for.
//!
//! Invariants: the pieces of a chunk are a function of its bytes and its [`Code`]; each has [`Code::piece_len`] bytes, an even
//! number, which the code works on. `coding/vectors/reed-solomon.txt` pins the parity, so that a later version of that crate
//! that coded otherwise would be noticed before it reads what is stored.
//!
//! Rejected: `reed-solomon-erasure`, which decodes ten times as fast, for it is C with the processor of the machine that
//! builds wired in, and nobody keeps it; decoding is needed only where a piece of the chunk itself is missing.
//!
//! ```
//! use bytes::Bytes;
//! use coding::Code;
//!
//! # fn main() -> Result<(), coding::CodingError> {
//! let code = Code::new(3, 6)?;
//! let chunk = Bytes::from_static(b"what a user stored");
//! let pieces = code.encode(&[chunk.clone()])?;
//! assert_eq!(pieces.len(), 6);
//!
//! // Any three of the six.
//! let some = [5, 1, 3].map(|number| (number, pieces[usize::from(number)].clone()));
//! assert_eq!(code.decode(chunk.len() as u32, &some)?, chunk);
//! # Ok(())
//! # }
//! ```

#![warn(unreachable_pub, missing_docs)]

use bytes::{Bytes, BytesMut};
use proto::Piece;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// Why pieces cannot be made, or give no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// Of no data, without parity, or of more pieces than a byte counts.
    #[error("{needed} of {pieces} pieces are no code")]
    NoCode {
        /// Pieces that would give the chunk back.
        needed: u32,
        /// Pieces that there would be.
        pieces: u32,
    },
    /// There is nothing to cut into pieces.
    #[error("a chunk of no bytes has no pieces")]
    Empty,
    /// Fewer different pieces than give the chunk back.
    #[error("{got} different pieces are no {needed}")]
    TooFew {
        /// Pieces that give the chunk back.
        needed: u8,
        /// Different ones that are there.
        got: usize,
    },
    /// A piece that the code does not have.
    #[error("there is no piece {0}")]
    NoSuchPiece(u8),
    /// A piece that is not as long as those of this chunk are.
    #[error("piece {number} has {got} bytes and not {expected}")]
    WrongLength {
        /// Which.
        number: u8,
        /// Bytes that it has.
        got: usize,
        /// Bytes that it should have.
        expected: usize,
    },
    /// The code did not take what was checked before.
    #[error("the code refuses: {0}")]
    Refused(&'static str),
}

/// k of n, as it stands in locators and statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    needed: u8,
    pieces: u8,
}

impl Code {
    /// Any `needed` of `pieces`.
    pub const fn new(needed: u32, pieces: u32) -> Result<Self, CodingError> {
        if needed == 0 || pieces <= needed || pieces > u8::MAX as u32 {
            return Err(CodingError::NoCode { needed, pieces });
        }
        Ok(Self {
            needed: needed as u8,
            pieces: pieces as u8,
        })
    }

    /// The code that a piece is of; whole copies are of none.
    pub const fn of(piece: Piece) -> Result<Self, CodingError> {
        Self::new(piece.needed() as u32, piece.pieces() as u32)
    }

    /// Bytes of each piece of a chunk: 2·⌈len/2k⌉.
    pub const fn piece_len(self, chunk_bytes: u32) -> usize {
        2 * (chunk_bytes as usize).div_ceil(2 * self.needed as usize)
    }

    /// All pieces of a chunk that comes in parts, by number.
    pub fn encode(self, chunk: &[Bytes]) -> Result<Vec<Bytes>, CodingError> {
        let bytes: usize = chunk.iter().map(Bytes::len).sum();
        let chunk_bytes = u32::try_from(bytes).map_err(|_| CodingError::Refused("4 GiB"))?;
        let length = self.piece_len(chunk_bytes);
        if length == 0 {
            return Err(CodingError::Empty);
        }
        let mut data = BytesMut::with_capacity(length * usize::from(self.needed));
        chunk.iter().for_each(|part| data.extend_from_slice(part));
        data.resize(length * usize::from(self.needed), 0);
        let data = data.freeze();
        let cut =
            (0..usize::from(self.needed)).map(|at| data.slice(at * length..(at + 1) * length));
        let mut pieces: Vec<Bytes> = cut.collect();
        let parity = self.parity(&pieces, length).map_err(refused)?;
        pieces.extend(parity);
        Ok(pieces)
    }

    /// Not generic, hence compiled in this crate.
    #[inline(never)]
    fn parity(self, data: &[Bytes], length: usize) -> Result<Vec<Bytes>, reed_solomon_simd::Error> {
        let (needed, parity) = self.counts();
        let mut encoder = ReedSolomonEncoder::new(needed, parity, length)?;
        for piece in data {
            encoder.add_original_shard(piece)?;
        }
        let encoded = encoder.encode()?;
        Ok(encoded
            .recovery_iter()
            .map(Bytes::copy_from_slice)
            .collect())
    }

    /// The chunk of `chunk_bytes` that these pieces are of. Of one that comes twice the first is taken; more than k change
    /// nothing.
    pub fn decode(self, chunk_bytes: u32, pieces: &[(u8, Bytes)]) -> Result<Bytes, CodingError> {
        let length = self.piece_len(chunk_bytes);
        let data = self.data(length, pieces)?;
        let mut chunk = BytesMut::with_capacity(length * data.len());
        data.iter().for_each(|piece| chunk.extend_from_slice(piece));
        chunk.truncate(chunk_bytes as usize);
        Ok(chunk.freeze())
    }

    /// Pieces `0..k`, with the padding.
    fn data(self, length: usize, pieces: &[(u8, Bytes)]) -> Result<Vec<Bytes>, CodingError> {
        if length == 0 {
            return Err(CodingError::Empty);
        }
        let mut by_number: Vec<Option<&Bytes>> = vec![None; usize::from(self.pieces)];
        for (number, piece) in pieces {
            let place = by_number.get_mut(usize::from(*number));
            let place = place.ok_or(CodingError::NoSuchPiece(*number))?;
            if piece.len() != length {
                return Err(CodingError::WrongLength {
                    number: *number,
                    got: piece.len(),
                    expected: length,
                });
            }
            place.get_or_insert(piece);
        }
        let got = by_number.iter().flatten().count();
        if got < usize::from(self.needed) {
            return Err(CodingError::TooFew {
                needed: self.needed,
                got,
            });
        }
        let (data, parity) = by_number.split_at(usize::from(self.needed));
        self.restored(length, data, parity)
    }

    #[inline(never)]
    fn restored(
        self,
        length: usize,
        data: &[Option<&Bytes>],
        parity: &[Option<&Bytes>],
    ) -> Result<Vec<Bytes>, CodingError> {
        if let Some(whole) = data.iter().copied().collect::<Option<Vec<&Bytes>>>() {
            return Ok(whole.into_iter().cloned().collect());
        }
        let (needed, parities) = self.counts();
        let mut decoder = ReedSolomonDecoder::new(needed, parities, length).map_err(refused)?;
        for (at, piece) in data.iter().enumerate() {
            if let Some(piece) = piece {
                decoder.add_original_shard(at, piece).map_err(refused)?;
            }
        }
        for (at, piece) in parity.iter().enumerate() {
            if let Some(piece) = piece {
                decoder.add_recovery_shard(at, piece).map_err(refused)?;
            }
        }
        let decoded = decoder.decode().map_err(refused)?;
        let restored = data.iter().enumerate().map(|(at, piece)| match piece {
            Some(piece) => Ok((*piece).clone()),
            None => {
                let restored = decoded.restored_original(at);
                let restored = restored.ok_or(CodingError::Refused("to restore a piece"))?;
                Ok(Bytes::copy_from_slice(restored))
            }
        });
        restored.collect()
    }

    fn counts(self) -> (usize, usize) {
        let needed = usize::from(self.needed);
        (needed, usize::from(self.pieces) - needed)
    }
}

/// Shapes and lengths are checked before, so that this is none of what callers tell apart.
fn refused(error: reed_solomon_simd::Error) -> CodingError {
    use reed_solomon_simd::Error;
    CodingError::Refused(match error {
        Error::InvalidShardSize { .. } | Error::DifferentShardSize { .. } => "the pieces' length",
        Error::UnsupportedShardCount { .. } => "so many pieces",
        _ => "the pieces' numbers",
    })
}
