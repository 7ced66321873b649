//! What sealing promises, on keys and random sources that tests choose.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proto::{BlobId, FileId, Locator};
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::*;

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn chunk(index: u32) -> ChunkRef {
    ChunkRef {
        file_id: FileId::from_uuid(Uuid::from_u128(0x0123_4567)),
        index,
    }
}

fn master(id: &str) -> MasterKey {
    MasterKey::new(id.to_owned(), Zeroizing::new([9; 32])).unwrap()
}

fn seal(key: &DataKey, chunk: ChunkRef, plain: &[u8], rng: &mut StdRng) -> SealedBlob {
    key.seal(chunk, &[Bytes::copy_from_slice(plain)], rng)
        .unwrap()
}

#[test]
fn two_replicas_of_a_chunk_share_neither_bytes_nor_name() {
    let mut rng = rng();
    let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
    let (a, b) = (
        seal(&key, chunk(0), b"same", &mut rng),
        seal(&key, chunk(0), b"same", &mut rng),
    );
    assert_ne!(a.data, b.data);
    assert_ne!(a.blob_id, b.blob_id);
    assert_eq!(a.blob_id, BlobId::of(&a.data));
    assert_eq!(a.data.len(), 4 + SEALING_OVERHEAD);
}

#[test]
fn a_replica_opens_only_at_its_own_place() {
    let mut rng = rng();
    let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
    let blob = seal(&key, chunk(3), b"text", &mut rng).data;
    let open = |at| key.open(at, BytesMut::from(&blob[..]));
    assert_eq!(open(chunk(3)).unwrap(), &b"text"[..]);
    assert_eq!(open(chunk(4)), Err(OpenError));
    let other_file = ChunkRef {
        file_id: FileId::from_uuid(Uuid::from_u128(1)),
        index: 3,
    };
    assert_eq!(open(other_file), Err(OpenError));
}

#[test]
fn a_wrapped_key_opens_only_for_its_file_and_under_its_master_key() {
    let mut rng = rng();
    let (file, other) = (chunk(0).file_id, FileId::from_uuid(Uuid::from_u128(1)));
    let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
    let wrapped = master("m1").wrap(file, &key, &mut rng).unwrap();
    assert_eq!(
        master("m1")
            .unwrap(file, Sealing::V2, &wrapped)
            .unwrap()
            .as_bytes(),
        key.as_bytes()
    );
    assert!(master("m1").unwrap(other, Sealing::V2, &wrapped).is_err());
    assert!(master("m2").unwrap(file, Sealing::V2, &wrapped).is_err());
    assert!(
        master("m1")
            .unwrap(file, Sealing::V2, &wrapped[1..])
            .is_err()
    );
}

#[test]
fn a_locator_says_where_its_blob_belongs() {
    let stored = ChunkVersion {
        chunk: chunk(77),
        version: 1_700_000_000_123,
    };
    let mut locator = *master("m1")
        .seal_locator(&stored.into(), &mut rng())
        .unwrap()
        .as_bytes();
    let open = |bytes| master("m1").open_locator(&Locator::from_bytes(bytes));
    assert_eq!(open(locator).unwrap().place, stored);
    locator[20] ^= 1;
    assert_eq!(open(locator), Err(OpenError));
}

/// The formats of DESIGN section 5, byte for byte: what is stored today must open tomorrow.
#[test]
fn sealed_formats_stay_as_they_are() {
    let mut rng = rng();
    let key = DataKey::from_bytes(Sealing::V1, Zeroizing::new([1; 32])).unwrap();
    let blob = seal(&key, chunk(2), b"golden", &mut rng);
    let wrapped = master("m1").wrap(chunk(0).file_id, &key, &mut rng).unwrap();
    let stored = ChunkVersion {
        chunk: chunk(2),
        version: 5,
    };
    let locator = master("m1").seal_locator(&stored.into(), &mut rng).unwrap();
    insta::assert_snapshot!(format!(
        "blob {}\nblob id {}\nwrapped {}\nlocator {}",
        hex::encode(&blob.data),
        blob.blob_id,
        hex::encode(wrapped),
        hex::encode(locator.as_bytes())
    ));
}

/// Keys, and the schedules that a library makes of them, do not outlive their owners.
#[test]
fn keys_are_wiped_when_they_are_dropped() {
    fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<DataKey>();
    wiped::<ChunkKey>();
    wiped::<MasterKey>();
    wiped::<Zeroizing<[u8; 32]>>();
    wiped::<aes_gcm::AesGcm<aes_gcm::aes::Aes256Enc, aes_gcm::aead::consts::U12>>();
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let key = DataKey::from_bytes(Sealing::V1, Zeroizing::new([1; 32])).unwrap();
    let chunk_key = ChunkKey::from_bytes(Zeroizing::new([2; 32]));
    let shown = format!("{key:?} {chunk_key:?} {:?}", master("m1"));
    assert_eq!(shown, "DataKey(..) ChunkKey(..) MasterKey(m1)");
}

/// The length is authenticated in 32 bits; a longer chunk would be sealed as a shorter one.
#[test]
fn a_chunk_that_is_longer_than_its_length_field_is_refused() {
    let longest = u32::MAX as usize;
    assert_eq!(crate::chunk::plaintext_bytes(longest), Ok(u32::MAX));
    let bytes = longest + 1;
    let refused = crate::chunk::plaintext_bytes(bytes);
    assert_eq!(refused, Err(SealError::TooLong { bytes }));
}

/// What a program of the release before wrote, and what one of it must not take for its own.
#[test]
fn a_key_opens_as_its_own_version_only() {
    let mut rng = rng();
    let file = chunk(0).file_id;
    for (own, other) in [(Sealing::V1, Sealing::V2), (Sealing::V2, Sealing::V1)] {
        let key = DataKey::generate(own, &mut rng).unwrap();
        assert_eq!(key.sealing(), own);
        let wrapped = master("m1").wrap(file, &key, &mut rng).unwrap();
        let unwrapped = master("m1").unwrap(file, own, &wrapped).unwrap();
        assert_eq!(unwrapped.sealing(), own);
        assert!(master("m1").unwrap(file, other, &wrapped).is_err());

        let blob = seal(&unwrapped, chunk(1), b"text", &mut rng).data;
        assert!(key.open(chunk(1), BytesMut::from(&blob[..])).is_ok());
        let bytes = Zeroizing::new(*key.as_bytes());
        let same_bytes = DataKey::from_bytes(other, bytes).unwrap();
        let opened = same_bytes.open(chunk(1), BytesMut::from(&blob[..]));
        assert_eq!(opened, Err(OpenError));
    }
}

#[test]
fn what_is_shown_of_a_chunk_opens_all_its_replicas_and_no_other_chunk() {
    let mut rng = rng();
    let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
    let shown = key.chunk_key(3).unwrap();
    for _ in 0..3 {
        let blob = seal(&key, chunk(3), b"text", &mut rng).data;
        let opened = shown.open(chunk(3), BytesMut::from(&blob[..]));
        assert_eq!(opened.unwrap(), &b"text"[..]);
        let (digest, length) =
            content_of(shown.as_bytes(), chunk(3), BytesMut::from(&blob[..])).unwrap();
        assert_eq!(length, 4);
        assert_eq!(
            digest.to_string(),
            "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"
        );
    }
    for index in [0, 2, 4] {
        let blob = seal(&key, chunk(index), b"text", &mut rng).data;
        for place in [chunk(index), chunk(3)] {
            let opened = shown.open(place, BytesMut::from(&blob[..]));
            assert_eq!(opened, Err(OpenError));
        }
    }
}

#[test]
fn of_a_file_with_one_key_for_all_chunks_nothing_is_shown() {
    let key = DataKey::generate(Sealing::V1, &mut rng()).unwrap();
    assert!(key.chunk_key(0).is_none());
}

proptest! {
    #[test]
    fn what_is_sealed_in_pieces_opens_whole(pieces: Vec<Vec<u8>>) {
        let mut rng = rng();
        let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
        let whole = pieces.concat();
        let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
        let blob = key.seal(chunk(1), &pieces, &mut rng).unwrap();
        let opened = key.open(chunk(1), BytesMut::from(&blob.data[..])).unwrap();
        prop_assert_eq!(&opened[..], &whole[..]);
    }

    #[test]
    fn any_changed_bit_is_noticed(plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let mut rng = rng();
        let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
        let blob = seal(&key, chunk(1), &plain, &mut rng).data;
        let mut damaged = BytesMut::from(&blob[..]);
        let position = at.index(damaged.len());
        damaged[position] ^= 1 << bit;
        prop_assert_eq!(key.open(chunk(1), damaged), Err(OpenError));
    }

    #[test]
    fn arbitrary_bytes_do_not_open(bytes: Vec<u8>) {
        let key = DataKey::generate(Sealing::V2, &mut rng()).unwrap();
        prop_assert!(key.open(chunk(1), BytesMut::from(&bytes[..])).is_err());
    }
}
