//! What nodes, a database or an operator with the wrong file may hand in: it does not open, and nothing panics.
//!
//! Invariant: every bit of a blob, a wrapped key and a locator counts, and so does every part of what they are bound to.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proto::{FileId, Locator};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sealing::{
    ChunkRef, ChunkVersion, DataKey, MasterKey, OpenError, SEALING_OVERHEAD, SealedBlob, Sealing,
    WRAPPED_KEY_LEN, content_of,
};
use uuid::Uuid;
use zeroize::Zeroizing;

const CHUNK: ChunkRef = ChunkRef {
    file_id: FileId::from_uuid(Uuid::from_u128(0x0123_4567)),
    index: 3,
};
const OTHER_FILE: FileId = FileId::from_uuid(Uuid::from_u128(1));

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn key(seed: u64) -> DataKey {
    DataKey::generate(Sealing::V2, &mut StdRng::seed_from_u64(seed)).unwrap()
}

fn master(id: &str, byte: u8) -> MasterKey {
    MasterKey::new(id.to_owned(), Zeroizing::new([byte; 32])).unwrap()
}

fn seal(key: &DataKey, text: &[u8]) -> SealedBlob {
    key.seal(CHUNK, &[Bytes::copy_from_slice(text)], &mut rng())
        .unwrap()
}

/// Copies that differ in one bit, one for each bit.
fn with_one_bit_changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..8 * bytes.len()).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

#[test]
fn a_changed_bit_of_nonce_text_or_tag_keeps_a_blob_shut() {
    let key = key(1);
    let blob = seal(&key, b"nonce, text and tag").data;
    for changed in with_one_bit_changed(&blob) {
        assert_eq!(key.open(CHUNK, changed.as_slice().into()), Err(OpenError));
    }
}

#[test]
fn a_changed_bit_keeps_a_wrapped_key_shut() {
    let master = master("m1", 9);
    let wrapped = master.wrap(CHUNK.file_id, &key(1), &mut rng()).unwrap();
    for changed in with_one_bit_changed(&wrapped) {
        assert!(master.unwrap(CHUNK.file_id, Sealing::V2, &changed).is_err());
    }
}

#[test]
fn a_changed_bit_keeps_a_locator_shut() {
    let (master, stored) = (
        master("m1", 9),
        ChunkVersion {
            chunk: CHUNK,
            version: 5,
        },
    );
    let locator = master.seal_locator(&stored.into(), &mut rng()).unwrap();
    for changed in with_one_bit_changed(locator.as_bytes()) {
        let changed = Locator::try_from(&changed[..]).unwrap();
        assert_eq!(master.open_locator(&changed), Err(OpenError));
    }
}

#[test]
fn a_blob_opens_with_its_key_and_as_its_chunk_only() {
    let blob = seal(&key(1), b"text").data;
    let open = |key: &DataKey, at| key.open(at, BytesMut::from(&blob[..]));
    assert!(open(&key(1), CHUNK).is_ok());
    assert_eq!(open(&key(2), CHUNK), Err(OpenError));
    let (index, file_id) = (CHUNK.index + 1, OTHER_FILE);
    assert_eq!(open(&key(1), ChunkRef { index, ..CHUNK }), Err(OpenError));
    assert_eq!(open(&key(1), ChunkRef { file_id, ..CHUNK }), Err(OpenError));
}

#[test]
fn a_blob_that_was_cut_or_grew_stays_shut() {
    let key = key(1);
    let blob = seal(&key, b"a text of some length").data;
    for length in 0..blob.len() {
        let cut = BytesMut::from(&blob[..length]);
        assert_eq!(key.open(CHUNK, cut), Err(OpenError));
    }
    let grown = BytesMut::from(&[&blob[..], &[0]].concat()[..]);
    assert_eq!(key.open(CHUNK, grown), Err(OpenError));
}

#[test]
fn an_empty_chunk_is_sealed_like_any_other() {
    let key = key(1);
    let blob = key.seal(CHUNK, &[], &mut rng()).unwrap().data;
    assert_eq!(blob.len(), SEALING_OVERHEAD);
    assert_eq!(key.open(CHUNK, BytesMut::from(&blob[..])), Ok(Bytes::new()));
}

#[test]
fn a_wrapped_key_opens_for_its_file_and_under_its_own_master_key_only() {
    let wrapped = master("m1", 9).wrap(CHUNK.file_id, &key(1), &mut rng());
    let wrapped = wrapped.unwrap();
    assert!(
        master("m1", 9)
            .unwrap(CHUNK.file_id, Sealing::V2, &wrapped)
            .is_ok()
    );
    assert!(
        master("m1", 9)
            .unwrap(OTHER_FILE, Sealing::V2, &wrapped)
            .is_err()
    );
    assert!(
        master("m1", 8)
            .unwrap(CHUNK.file_id, Sealing::V2, &wrapped)
            .is_err()
    );
    assert!(
        master("m2", 9)
            .unwrap(CHUNK.file_id, Sealing::V2, &wrapped)
            .is_err()
    );
}

#[test]
fn a_locator_opens_under_its_own_master_key_only() {
    let stored = ChunkVersion {
        chunk: CHUNK,
        version: 5,
    };
    let locator = master("m1", 9)
        .seal_locator(&stored.into(), &mut rng())
        .unwrap();
    // The id of a master key has no part in it: a coordinator tries each that it has.
    assert_eq!(master("m2", 9).open_locator(&locator), Ok(stored.into()));
    assert_eq!(master("m1", 8).open_locator(&locator), Err(OpenError));
}

/// Each purpose has a key of its own, derived or drawn.
#[test]
fn what_was_sealed_for_one_purpose_opens_for_no_other() {
    let master = master("m1", 9);
    let wrapped = master.wrap(CHUNK.file_id, &key(1), &mut rng()).unwrap();
    assert!(key(1).open(CHUNK, BytesMut::from(&wrapped[..])).is_err());
    let mut padded = [0; Locator::LEN];
    padded[..WRAPPED_KEY_LEN].copy_from_slice(&wrapped);
    let as_locator = Locator::from_bytes(padded);
    assert_eq!(master.open_locator(&as_locator), Err(OpenError));
}

proptest! {
    #[test]
    fn arbitrary_bytes_open_as_nothing(bytes: Vec<u8>, locator: [u8; Locator::LEN], wrapped: [u8; WRAPPED_KEY_LEN]) {
        let master = master("m1", 9);
        prop_assert!(key(1).open(CHUNK, BytesMut::from(&bytes[..])).is_err());
        prop_assert!(master.unwrap(CHUNK.file_id, Sealing::V2, &bytes).is_err());
        prop_assert!(master.unwrap(CHUNK.file_id, Sealing::V2, &wrapped).is_err());
        prop_assert!(content_of(&[7; 32], CHUNK, BytesMut::from(&bytes[..])).is_err());
        prop_assert!(master.open_locator(&Locator::from_bytes(locator)).is_err());
    }

    #[test]
    fn a_locator_gives_back_what_was_sealed_into_it(file: u128, index: u32, version: u64, seed: u64) {
        let chunk = ChunkRef { file_id: FileId::from_uuid(Uuid::from_u128(file)), index };
        let stored = ChunkVersion { chunk, version };
        let mut rng = StdRng::seed_from_u64(seed);
        let locator = master("m1", 9).seal_locator(&stored.into(), &mut rng).unwrap();
        prop_assert_eq!(master("m1", 9).open_locator(&locator), Ok(stored.into()));
    }

    /// However the pieces are cut, the blob is that of the whole.
    #[test]
    fn pieces_make_no_difference(text: Vec<u8>, cuts: Vec<prop::sample::Index>) {
        let mut rest = Bytes::from(text.clone());
        let mut pieces = Vec::new();
        for cut in cuts {
            let piece = rest.split_to(cut.index(rest.len() + 1));
            pieces.push(piece);
        }
        pieces.push(rest);
        let in_pieces = key(1).seal(CHUNK, &pieces, &mut rng()).unwrap();
        prop_assert_eq!(in_pieces.data, seal(&key(1), &text).data);
    }
}

/// With those of every target, `scripts/fuzz` runs this for longer.
mod tampered {
    use super::*;

    const DIR: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn locators_open_as_nothing_but_what_was_sealed() {
        let master = master("m1", 9);
        let stored = ChunkVersion {
            chunk: CHUNK,
            version: 5,
        };
        let locator = master.seal_locator(&stored.into(), &mut rng()).unwrap();
        let sound = locator.as_bytes().to_vec();
        hostile::attack(DIR, "locators", [sound.clone()], |bytes| {
            let Ok(locator) = Locator::try_from(bytes) else {
                assert_ne!(bytes.len(), Locator::LEN);
                return;
            };
            assert_eq!(master.open_locator(&locator).is_ok(), bytes == sound);
        });
    }

    #[test]
    fn blobs_and_wrapped_keys_open_as_nothing_but_what_was_sealed() {
        let (master, key) = (master("m1", 9), key(1));
        let wrapped = master
            .wrap(CHUNK.file_id, &key, &mut rng())
            .unwrap()
            .to_vec();
        let blob = seal(&key, b"some text of a chunk").data.to_vec();
        hostile::attack(DIR, "sealed", [wrapped.clone(), blob.clone()], |bytes| {
            assert_eq!(
                master.unwrap(CHUNK.file_id, Sealing::V2, bytes).is_ok(),
                bytes == wrapped
            );
            assert_eq!(
                key.open(CHUNK, BytesMut::from(bytes)).is_ok(),
                bytes == blob
            );
        });
    }
}
