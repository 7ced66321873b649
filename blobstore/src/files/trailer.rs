//! The 124 bytes behind a blob in its file: what the catalogue would have to know to be rebuilt.
//!
//! Not part of what the blob id hashes, so the blob's bytes stay what the coordinator sent. The
//! checksum covers the blob id too: a file under another blob's name does not pass. Rejected: a
//! header, which would shift the blob's bytes away from the start of their pages.
//!
//! ```text
//!  0  magic      8  "fsn-blob"
//!  8  version    4  u32 = 1
//! 12  length     8  u64, bytes of the blob
//! 20  stored_at  8  u64, Unix ms
//! 28  locator   64
//! 92  checksum  32  BLAKE3 derive_key("fsn blob trailer v1", blob id ‖ bytes 0..92)
//! ```
//! Integers are little-endian.

use proto::{BlobId, Locator};

use crate::blob::{BadLabel, Label, field};

pub const TRAILER_LEN: usize = 124;

const MAGIC: &[u8; 8] = b"fsn-blob";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = TRAILER_LEN - 32;
const CONTEXT: &str = "fsn blob trailer v1";

pub(super) fn encode(label: &Label, id: &BlobId) -> [u8; TRAILER_LEN] {
    let mut bytes = [0; TRAILER_LEN];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&label.length.to_le_bytes());
    bytes[20..28].copy_from_slice(&label.stored_at_ms.to_le_bytes());
    bytes[28..92].copy_from_slice(label.locator.as_bytes());
    let checksum = checksum(id, &bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
    bytes
}

pub(super) fn decode(bytes: &[u8], id: &BlobId) -> Result<Label, BadLabel> {
    if bytes.len() != TRAILER_LEN || !bytes.starts_with(MAGIC) {
        return Err(BadLabel::Absent);
    }
    if checksum(id, &bytes[..CHECKSUM_AT]) != bytes[CHECKSUM_AT..] {
        return Err(BadLabel::Checksum);
    }
    let version = u32::from_le_bytes(field(bytes, 8));
    if version != VERSION {
        return Err(BadLabel::UnknownVersion(version));
    }
    Ok(Label {
        length: u64::from_le_bytes(field(bytes, 12)),
        stored_at_ms: u64::from_le_bytes(field(bytes, 20)),
        locator: Locator::from_bytes(field(bytes, 28)),
    })
}

fn checksum(id: &BlobId, fields: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(id.as_bytes());
    hasher.update(fields);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (BlobId, Label) {
        let label = Label {
            length: 262_172,
            stored_at_ms: 1_800_000_000_123,
            locator: Locator::from_bytes(std::array::from_fn(|i| i as u8)),
        };
        (BlobId::of(b"a sealed chunk"), label)
    }

    #[test]
    fn the_bytes_on_disk_stay_what_they_are() {
        let (id, label) = sample();
        assert_eq!(
            hex::encode(encode(&label, &id)),
            "66736e2d626c6f62010000001c000400000000007b505c18a3010000\
             000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
             202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\
             cfa241a52f5a1648e337739ab51f0c35c8de2c330ec41ebc057e03ee8f791b48"
        );
    }

    #[test]
    fn a_trailer_under_another_blobs_name_is_refused() {
        let (id, label) = sample();
        let bytes = encode(&label, &id);
        let other = BlobId::of(b"another");
        assert_eq!(decode(&bytes, &other), Err(BadLabel::Checksum));
    }

    #[test]
    fn a_trailer_of_a_later_version_is_named_as_such() {
        let (id, label) = sample();
        let mut bytes = encode(&label, &id);
        bytes[8] = 2;
        let sum = checksum(&id, &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&sum);
        let expected = Err(BadLabel::UnknownVersion(2));
        assert_eq!(decode(&bytes, &id), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(length: u64, stored_at_ms: u64, id: [u8; 32], seed: u8) {
            let id = BlobId::from_bytes(id);
            let locator = Locator::from_bytes([seed; Locator::LEN]);
            let label = Label { length, stored_at_ms, locator };
            prop_assert_eq!(decode(&encode(&label, &id), &id), Ok(label));
        }

        #[test]
        fn no_single_flipped_bit_passes(bit in 0..TRAILER_LEN * 8) {
            let (id, label) = sample();
            let mut bytes = encode(&label, &id);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, &id).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes, &BlobId::of(b"")).is_err());
        }
    }

    #[test]
    fn no_tampered_trailer_passes() {
        let (id, label) = sample();
        let sound = encode(&label, &id).to_vec();
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        hostile::attack(crate_dir, "trailers", [sound.clone()], |bytes| {
            assert_eq!(decode(bytes, &id).is_ok(), bytes == sound);
        });
    }
}
