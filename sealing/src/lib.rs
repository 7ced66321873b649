//! Sealing: every replica of a chunk is its own ciphertext.
//!
//! What a coordinator does to bytes before a stranger's disk may hold them, and back. Pure: no I/O, and randomness is
//! an argument.
//!
//! - [`DataKey`], one for each file, seals chunks into blobs ([`SealedBlob`]) and opens them again. A chunk is named by
//!   [`ChunkRef`], and a blob opens as no other chunk than its own. How a key seals is its [`Sealing`]: since version 2
//!   each chunk has a [`ChunkKey`] of its own, which its owner may be shown. Under the same key the pieces of a coded chunk
//!   are sealed, each as no other ([`PieceRef`]).
//! - [`MasterKey`], from a file that only coordinators have, wraps data keys for the database and seals
//!   [`Locator`](proto::Locator)s, which say to a coordinator what a node's blob is ([`ChunkVersion`]). It wraps other
//!   secrets, too, each for its own place ([`SecretPlace`]).
//! - [`end_to_end`]: what users seal before a coordinator sees it.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use rand::{SeedableRng, rngs::StdRng};
//! use sealing::{ChunkRef, ChunkVersion, DataKey, MasterKey, Sealing};
//! use zeroize::Zeroizing;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = StdRng::seed_from_u64(1); // an example; a program hands in the system's source
//! # let file_id = proto::FileId::from_uuid(uuid::Uuid::from_u128(7));
//! let master = MasterKey::new("master-1".to_owned(), Zeroizing::new([9; 32]))?;
//! let chunk = ChunkRef { file_id, index: 0 };
//!
//! // The first upload: a fresh data key, wrapped for the database.
//! let key = DataKey::generate(Sealing::V2, &mut rng)?;
//! let wrapped = master.wrap(file_id, &key, &mut rng)?;
//!
//! // Two replicas of one chunk, for two nodes: other bytes, hence other names.
//! let body = [Bytes::from_static(b"what a user "), Bytes::from_static(b"stored")];
//! let first = key.seal(chunk, &body, &mut rng)?;
//! let second = key.seal(chunk, &body, &mut rng)?;
//! assert_ne!(first.blob_id, second.blob_id);
//!
//! // What a node keeps beside its blob tells a coordinator, and nobody else, where the blob belongs.
//! let stored = ChunkVersion { chunk, version: 1_700_000_000_000 };
//! let locator = master.seal_locator(&stored.into(), &mut rng)?;
//! assert_eq!(master.open_locator(&locator)?.place, stored);
//!
//! // Later: the key out of the database, the blob from a node.
//! let key = master.unwrap(file_id, Sealing::V2, &wrapped)?;
//! let opened = key.open(chunk, BytesMut::from(&first.data[..]))?;
//! assert_eq!(opened, &b"what a user stored"[..]);
//! # Ok(())
//! # }
//! ```
//!
//! # Formats
//!
//! Each is nonce\[12\] ‖ ciphertext ‖ tag\[16\] of AES-256-GCM with a fresh random nonce:
//!
//! | | key | text | AAD |
//! |---|---|---|---|
//! | blob, version 1 | data key | the chunk | `fsn v1 replica` ‖ file id\[16\] ‖ index:u32 BE ‖ text length:u32 BE |
//! | blob, version 2 | chunk key: HKDF-SHA256(data key, info = `fsn v2 chunk` ‖ index:u32 BE) | the chunk | `fsn v2 replica` ‖ file id\[16\] ‖ index:u32 BE ‖ text length:u32 BE |
//! | blob of a piece | chunk key, as in version 2 | the piece, of a coded chunk | `fsn v2 piece` ‖ file id\[16\] ‖ index:u32 BE ‖ piece:u8 ‖ k:u8 ‖ n:u8 ‖ length of the chunk:u32 BE |
//! | wrapped key | HKDF-SHA256(master key, salt = file id, info = `fsn v1 wrap` or, of version 2, `fsn v2 wrap`) | data key | file id\[16\] ‖ master-key id |
//! | wrapped secret | HKDF-SHA256(master key, info = `fsn v1 ` ‖ purpose ‖ subject) | the secret | master-key id |
//! | locator | HKDF-SHA256(master key, info = `fsn v1 locator`) | file id\[16\] ‖ index:u32 BE ‖ version:u64 BE ‖ zero\[8\], or of a piece: piece:u8 ‖ k:u8 ‖ n:u8 ‖ first bytes of the blob id\[5\] | `fsn v1 locator` |
//!
//! `sealing/vectors/sealing.json` has cases of each from a second implementation, `sealing.py` beside it.
//!
//! # Where the time goes
//!
//! All ciphers run inside this crate, in functions that are not generic, and the workspace compiles it and the crates
//! under it at opt-level 3 in every profile: generic ciphers are compiled where they are used, and in an unoptimised
//! crate sealing one chunk takes 60 ms. `scripts/bench seal` measures it; `docs/performance.md` has figures. The
//! feature `aws-lc` seals with aws-lc instead, byte for byte the same.

#![warn(unreachable_pub, missing_docs)]

mod chunk;
mod chunk_key;
mod cipher;
#[cfg(feature = "comparison")]
pub mod comparison;
mod data_key;
mod derive;
#[cfg(feature = "end-to-end")]
pub mod end_to_end;
mod error;
mod locator;
mod master_key;
mod secret;
#[cfg(test)]
mod tests;

pub use chunk::{ChunkRef, PieceRef, SealedBlob};
pub use chunk_key::{ChunkKey, content_of};
pub use cipher::SEALING_OVERHEAD;
pub use data_key::DataKey;
pub use error::{OpenError, SealError};
pub use locator::{ChunkVersion, Located, LocatedPiece};
pub use master_key::{MasterKey, WRAPPED_KEY_LEN};
pub use proto::Sealing;
pub use secret::SecretPlace;
