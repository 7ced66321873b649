//! `vectors/sealing.json`: what a second implementation, in Python, makes of the same keys, nonces and texts.
//!
//! Invariant: what is stored today opens tomorrow, whichever library sealed it. Rejected: a nonce as an argument of the
//! public functions, for tests; here a random source gives the nonces that the file names.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use proto::{BlobId, FileId, Locator, Piece};
use rand::{TryCryptoRng, TryRng};
use sealing::{
    ChunkRef, ChunkVersion, DataKey, Located, LocatedPiece, MasterKey, PieceRef, Sealing,
    SecretPlace,
};
use serde::Deserialize;
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct Vectors {
    blobs: Vec<BlobCase>,
    blobs_v2: Vec<BlobCase>,
    wrapped_keys: Vec<WrappedCase>,
    wrapped_keys_v2: Vec<WrappedCase>,
    wrapped_secrets: Vec<SecretCase>,
    pieces: Vec<PieceCase>,
    locators: Vec<LocatorCase>,
    locators_of_pieces: Vec<LocatorCase>,
}

#[derive(Deserialize)]
struct BlobCase {
    data_key: String,
    /// Since version 2.
    chunk_key: Option<String>,
    file_id: String,
    index: u32,
    nonce: String,
    length: usize,
    blob_id: String,
    /// Of short blobs.
    blob: Option<String>,
}

#[derive(Deserialize)]
struct PieceCase {
    #[serde(flatten)]
    blob: BlobCase,
    piece: [u8; 3],
    chunk_bytes: u32,
}

#[derive(Deserialize)]
struct WrappedCase {
    master_key: String,
    master_key_id: String,
    file_id: String,
    data_key: String,
    nonce: String,
    wrapped: String,
}

#[derive(Deserialize)]
struct SecretCase {
    master_key: String,
    master_key_id: String,
    purpose: String,
    subject: String,
    secret: String,
    nonce: String,
    wrapped: String,
}

#[derive(Deserialize)]
struct LocatorCase {
    master_key: String,
    file_id: String,
    index: u32,
    version: String,
    nonce: String,
    locator: String,
    /// Number, k and n, of pieces.
    piece: Option<[u8; 3]>,
    blob_id: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/sealing.json")).unwrap()
}

/// A random source that gives these bytes, once.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("sealing draws whole nonces and keys")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("sealing draws whole nonces and keys")
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.copy_from_slice(&std::mem::take(&mut self.0));
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn given(hex: &str) -> Given {
    Given(hex::decode(hex).unwrap())
}

fn file_id(hex: &str) -> FileId {
    FileId::try_from(&hex::decode(hex).unwrap()[..]).unwrap()
}

fn master_key(id: &str, hex: &str) -> MasterKey {
    let bytes = hex::decode(hex).unwrap().try_into().unwrap();
    MasterKey::new(id.to_owned(), Zeroizing::new(bytes)).unwrap()
}

fn plaintext(length: usize) -> Bytes {
    (0..length)
        .map(|i| ((7 * i + length) % 251) as u8)
        .collect()
}

#[test]
fn chunks_are_sealed_to_the_same_blobs() {
    let vectors = vectors();
    let cases = vectors.blobs.into_iter().map(|case| (Sealing::V1, case));
    for (sealing, case) in cases.chain(vectors.blobs_v2.into_iter().map(|case| (Sealing::V2, case)))
    {
        let key = DataKey::generate(sealing, &mut given(&case.data_key)).unwrap();
        let chunk_key = key.chunk_key(case.index);
        let chunk_key = chunk_key.map(|key| hex::encode(key.as_bytes()));
        assert_eq!(chunk_key, case.chunk_key);
        let chunk = ChunkRef {
            file_id: file_id(&case.file_id),
            index: case.index,
        };
        let text = plaintext(case.length);
        let pieces = [text.slice(..case.length / 3), text.slice(case.length / 3..)];
        let sealed = key.seal(chunk, &pieces, &mut given(&case.nonce)).unwrap();
        assert_eq!(sealed.blob_id.to_string(), case.blob_id, "{}", case.length);
        if let Some(blob) = case.blob {
            assert_eq!(hex::encode(&sealed.data), blob);
        }
        let opened = key.open(chunk, BytesMut::from(&sealed.data[..])).unwrap();
        assert_eq!(opened, text);
    }
}

#[test]
fn data_keys_are_wrapped_to_the_same_bytes() {
    let vectors = vectors();
    let cases = vectors
        .wrapped_keys
        .into_iter()
        .map(|case| (Sealing::V1, case));
    let of_v2 = vectors
        .wrapped_keys_v2
        .into_iter()
        .map(|case| (Sealing::V2, case));
    for (sealing, case) in cases.chain(of_v2) {
        let master = master_key(&case.master_key_id, &case.master_key);
        let file_id = file_id(&case.file_id);
        let key = DataKey::generate(sealing, &mut given(&case.data_key)).unwrap();
        let wrapped = master.wrap(file_id, &key, &mut given(&case.nonce)).unwrap();
        assert_eq!(hex::encode(wrapped), case.wrapped);

        // The key that comes out seals as the one that went in.
        let unwrapped = master.unwrap(file_id, sealing, &wrapped).unwrap();
        let chunk = ChunkRef { file_id, index: 0 };
        let text = [plaintext(100)];
        let blob = |key: &DataKey| key.seal(chunk, &text, &mut given(&case.nonce)).unwrap();
        assert_eq!(blob(&unwrapped).blob_id, blob(&key).blob_id);
    }
}

#[test]
fn secrets_are_wrapped_to_the_same_bytes() {
    for case in vectors().wrapped_secrets {
        let master = master_key(&case.master_key_id, &case.master_key);
        let place = SecretPlace {
            purpose: &case.purpose,
            subject: &case.subject,
        };
        let secret = hex::decode(&case.secret).unwrap();
        let wrapped = master.wrap_secret(place, &secret, &mut given(&case.nonce));
        let wrapped = wrapped.unwrap();
        assert_eq!(hex::encode(&wrapped), case.wrapped);
        assert_eq!(master.unwrap_secret(place, &wrapped).unwrap()[..], secret);
    }
}

fn piece([number, needed, pieces]: [u8; 3]) -> Piece {
    Piece::new(number, needed, pieces).unwrap()
}

#[test]
fn pieces_are_sealed_to_the_same_blobs_and_open_as_no_other_piece() {
    for case in vectors().pieces {
        let key = DataKey::generate(Sealing::V2, &mut given(&case.blob.data_key)).unwrap();
        let place = PieceRef {
            chunk: ChunkRef {
                file_id: file_id(&case.blob.file_id),
                index: case.blob.index,
            },
            piece: piece(case.piece),
            chunk_bytes: case.chunk_bytes,
        };
        let text = plaintext(case.blob.length);
        let sealed = key.seal_piece(place, &text, &mut given(&case.blob.nonce));
        let sealed = sealed.unwrap();
        assert_eq!(sealed.blob_id.to_string(), case.blob.blob_id);
        if let Some(blob) = case.blob.blob {
            assert_eq!(hex::encode(&sealed.data), blob);
        }
        let blob = || BytesMut::from(&sealed.data[..]);
        let chunk_key = key.chunk_key(case.blob.index).unwrap();
        let shown = hex::encode(chunk_key.as_bytes());
        assert_eq!(Some(shown), case.blob.chunk_key);
        assert_eq!(key.open_piece(place, blob()), Ok(text.clone()));
        assert_eq!(chunk_key.open_piece(place, blob()), Ok(text));

        // A piece of another chunk, index or file, another number, another code, another length, or a copy.
        let [number, needed, pieces] = case.piece;
        let mut others = vec![place; 6];
        others[0].chunk.index ^= 1;
        others[1].chunk.file_id = FileId::from_bytes([9; 16]);
        others[2].piece = piece([(number + 1) % pieces, needed, pieces]);
        others[3].piece = piece([number, needed, pieces + 1]);
        others[4].piece = piece([number, needed - 1, pieces]);
        others[5].chunk_bytes += 1;
        for other in others {
            assert!(key.open_piece(other, blob()).is_err(), "{other:?}");
        }
        assert!(key.open(place.chunk, blob()).is_err());
    }
}

#[test]
fn locators_are_sealed_to_the_same_bytes() {
    let vectors = vectors();
    for case in vectors.locators.iter().chain(&vectors.locators_of_pieces) {
        let master = master_key("whichever", &case.master_key);
        let blob = case.blob_id.as_ref();
        let blob = blob.map(|id| BlobId::try_from(&hex::decode(id).unwrap()[..]).unwrap());
        let of_piece = case.piece.zip(blob);
        let stored = Located {
            place: ChunkVersion {
                chunk: ChunkRef {
                    file_id: file_id(&case.file_id),
                    index: case.index,
                },
                version: case.version.parse().unwrap(),
            },
            piece: of_piece.map(|(numbers, blob)| LocatedPiece::new(piece(numbers), blob)),
        };
        let locator = master.seal_locator(&stored, &mut given(&case.nonce));
        assert_eq!(hex::encode(locator.unwrap().as_bytes()), case.locator);
        let locator = Locator::try_from(&hex::decode(&case.locator).unwrap()[..]).unwrap();
        let opened = master.open_locator(&locator).unwrap();
        assert_eq!(opened, stored);
        if let (Some(piece), Some(blob)) = (opened.piece, blob) {
            assert!(piece.is_of(blob) && !piece.is_of(BlobId::of(b"another")));
        }
    }
}
