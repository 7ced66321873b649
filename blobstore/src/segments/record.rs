//! A record of a segment: 1024 bytes of header, the blob, zeros up to the next multiple of 4096.
//!
//! The header has two halves of 512 bytes, which a disk writes whole or not at all. The first never
//! changes; the second says what has become of the blob and is written anew in place. Both checksums
//! cover segment and position: a record that lies elsewhere, left over or put there, does not pass.
//!
//! ```text
//!   0  magic      8  "fsn-rcrd"              512  magic      8  "fsn-fate"
//!   8  version    4  u32 = 1                 520  fate       4  u32: 1 trashed, 2 dead
//!  12  header     4  u32 = 1024              524  deferred   4  u32, seconds from `at`
//!  16  length     8  u64, bytes of the blob  528  at         8  u64, Unix ms
//!  24  stored_at  8  u64, Unix ms            536  checksum  32
//!  32  blob id   32                          568  zero up to 1024
//!  64  locator   64
//! 128  checksum  32
//! 160  zero up to 512
//! ```
//! The checksums are BLAKE3 derive_key(context, segment: u64 ‖ position: u64 ‖ what stands before them in
//! their half), with the contexts "fsn segment record v1" and "fsn segment fate v1"; the second covers
//! the first one's checksum too. Integers are little-endian. A second half of zeros: a live blob.
//! `deferred` is how long trash stays at least because its removal was put off; 0: it was not.
//! Rejected: a header of 4096 bytes, which would triple what a blob of 4 KiB takes.

use proto::{BlobId, Locator};

use crate::blob::{BadLabel, Label, Location, MAX_BLOB_LEN, field};

pub(super) const HEADER_LEN: usize = 1024;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 4096;
/// Where in a header the half is that changes.
pub(super) const FATE_AT: usize = 512;
pub(super) const FATE_LEN: usize = 512;

const MAGIC: &[u8; 8] = b"fsn-rcrd";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = 128;
const CONTEXT: &str = "fsn segment record v1";
const FATE_MAGIC: &[u8; 8] = b"fsn-fate";
const FATE_CHECKSUM_AT: usize = 24;
const FATE_CONTEXT: &str = "fsn segment fate v1";

/// What has become of a record's blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Live,
    Trashed {
        at_ms: u64,
        /// How long it stays there at least, because its removal was put off.
        deferred_s: u32,
    },
    /// Removed, where no hole can be punched: the length still tells where the next record is.
    Dead,
}

impl Fate {
    /// Rounded up to seconds: rather longer than shorter.
    pub(super) fn trashed(at_ms: u64, deferred_until_ms: Option<u64>) -> Self {
        let time = deferred_until_ms.map_or(0, |until| until.saturating_sub(at_ms).max(1));
        Self::Trashed {
            at_ms,
            deferred_s: u32::try_from(time.div_ceil(1000)).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn deferred_until_ms(self) -> Option<u64> {
        match self {
            Self::Trashed { at_ms, deferred_s } if deferred_s > 0 => {
                Some(at_ms.saturating_add(u64::from(deferred_s) * 1000))
            }
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub id: BlobId,
    pub label: Label,
    pub fate: Fate,
}

/// What the record of a blob takes: header, bytes, padding.
pub(super) const fn span(length: u64) -> u64 {
    (HEADER_LEN as u64 + length).next_multiple_of(ALIGNMENT)
}

impl Header {
    pub(super) fn encode(&self, at: Location) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.label.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.label.stored_at_ms.to_le_bytes());
        bytes[32..64].copy_from_slice(self.id.as_bytes());
        bytes[64..128].copy_from_slice(self.label.locator.as_bytes());
        let checksum = checksum(CONTEXT, at, &[&bytes[..CHECKSUM_AT]]);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 32].copy_from_slice(&checksum);
        let fate = encode_fate(self.fate, &checksum, at);
        bytes[FATE_AT..].copy_from_slice(&fate);
        bytes
    }

    /// The second half of this header, to be written over the one that is there.
    pub(super) fn encode_fate(&self, at: Location) -> [u8; FATE_LEN] {
        let header = self.encode(at);
        field(&header, FATE_AT)
    }

    /// Of a damaged second half the blob is taken for live: kept rather than lost.
    pub(super) fn decode(bytes: &[u8], at: Location) -> Result<Self, BadLabel> {
        if bytes.len() != HEADER_LEN || !bytes.starts_with(MAGIC) {
            return Err(BadLabel::Absent);
        }
        let sum = checksum(CONTEXT, at, &[&bytes[..CHECKSUM_AT]]);
        if sum != bytes[CHECKSUM_AT..CHECKSUM_AT + 32] {
            return Err(BadLabel::Checksum);
        }
        let version = u32::from_le_bytes(field(bytes, 8));
        if version != VERSION {
            return Err(BadLabel::UnknownVersion(version));
        }
        let length = u64::from_le_bytes(field(bytes, 16));
        let header_len = u32::from_le_bytes(field(bytes, 12));
        if header_len != HEADER_LEN as u32 || !(1..=MAX_BLOB_LEN as u64).contains(&length) {
            return Err(BadLabel::Checksum);
        }
        Ok(Self {
            id: BlobId::from_bytes(field(bytes, 32)),
            label: Label {
                length,
                stored_at_ms: u64::from_le_bytes(field(bytes, 24)),
                locator: Locator::from_bytes(field(bytes, 64)),
            },
            fate: decode_fate(&bytes[FATE_AT..], &sum, at),
        })
    }
}

fn encode_fate(fate: Fate, header: &[u8; 32], at: Location) -> [u8; FATE_LEN] {
    let mut bytes = [0; FATE_LEN];
    let (number, at_ms, deferred_s) = match fate {
        Fate::Live => return bytes,
        Fate::Trashed { at_ms, deferred_s } => (1_u32, at_ms, deferred_s),
        Fate::Dead => (2, 0, 0),
    };
    bytes[0..8].copy_from_slice(FATE_MAGIC);
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    bytes[12..16].copy_from_slice(&deferred_s.to_le_bytes());
    bytes[16..24].copy_from_slice(&at_ms.to_le_bytes());
    let sum = checksum(FATE_CONTEXT, at, &[header, &bytes[..FATE_CHECKSUM_AT]]);
    bytes[FATE_CHECKSUM_AT..FATE_CHECKSUM_AT + 32].copy_from_slice(&sum);
    bytes
}

fn decode_fate(bytes: &[u8], header: &[u8; 32], at: Location) -> Fate {
    if !bytes.starts_with(FATE_MAGIC) {
        return Fate::Live;
    }
    let sum = checksum(FATE_CONTEXT, at, &[header, &bytes[..FATE_CHECKSUM_AT]]);
    if sum != bytes[FATE_CHECKSUM_AT..FATE_CHECKSUM_AT + 32] {
        return Fate::Live;
    }
    let at_ms = u64::from_le_bytes(field(bytes, 16));
    match u32::from_le_bytes(field(bytes, 8)) {
        1 => Fate::Trashed {
            at_ms,
            deferred_s: u32::from_le_bytes(field(bytes, 12)),
        },
        2 => Fate::Dead,
        _ => Fate::Live,
    }
}

fn checksum(context: &str, at: Location, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&at.segment.to_le_bytes());
    hasher.update(&at.position.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Location = Location {
        segment: 3,
        position: 8192,
    };

    fn sample(fate: Fate) -> Header {
        Header {
            id: BlobId::of(b"a sealed chunk"),
            label: Label {
                length: 262_172,
                stored_at_ms: 1_800_000_000_123,
                locator: Locator::from_bytes(std::array::from_fn(|i| i as u8)),
            },
            fate,
        }
    }

    #[test]
    fn the_bytes_on_disk_stay_what_they_are() {
        let bytes = sample(Fate::Trashed {
            at_ms: 1_800_000_000_456,
            deferred_s: 0,
        })
        .encode(AT);
        assert_eq!(
            hex::encode(&bytes[..160]),
            "66736e2d7263726401000000000400001c000400000000007b505c18a3010000\
             e03b9a89f726fb473dead4d5f30f00d42ceb231ceb192c66d4376ad529e73b4c\
             000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
             202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\
             d88bd7e9694b89c23c9e449a054404cead86fd4aba141353fbca9157ae2d52eb"
        );
        assert_eq!(
            hex::encode(&bytes[512..568]),
            "66736e2d666174650100000000000000c8515c18a3010000\
             377cdd96ff03177d7f3f45ac4436c634a983e5373463103e1fccd97e7017fa6d"
        );
        assert!(
            bytes[160..512]
                .iter()
                .chain(&bytes[568..])
                .all(|byte| *byte == 0)
        );
        let dead = sample(Fate::Dead).encode(AT);
        assert_eq!(
            hex::encode(&dead[512..568]),
            "66736e2d66617465020000000000000000000000000000\
             00ae05602ff5c628653b0870f262117d0088fa88a6d60febe91b192c4949f33838"
        );
        let live = sample(Fate::Live).encode(AT);
        assert_eq!(live[..512], bytes[..512]);
        assert_eq!(live[512..], [0; 512]);
    }

    #[test]
    fn a_record_takes_whole_pages_and_a_small_blob_shares_its_headers() {
        let spans = [1, 3072, 3073, 4124, 262_172].map(span);
        assert_eq!(spans, [4096, 4096, 8192, 8192, 266_240]);
    }

    #[test]
    fn a_record_that_lies_elsewhere_is_refused() {
        let bytes = sample(Fate::Live).encode(AT);
        for (segment, position) in [(4, 8192), (3, 4096)] {
            let elsewhere = Location { segment, position };
            let refused = Header::decode(&bytes, elsewhere);
            assert_eq!(refused, Err(BadLabel::Checksum));
        }
    }

    #[test]
    fn a_fate_does_not_pass_on_to_another_record() {
        let mut bytes = sample(Fate::Live).encode(AT);
        let elsewhere = Location { position: 0, ..AT };
        let fate = sample(Fate::Dead).encode_fate(elsewhere);
        bytes[FATE_AT..].copy_from_slice(&fate);
        assert_eq!(Header::decode(&bytes, AT).unwrap().fate, Fate::Live);
    }

    #[test]
    fn how_long_a_removal_was_put_off_stands_where_older_versions_wrote_zeros() {
        let at_ms = 1_800_000_000_456;
        let put_off = Fate::trashed(at_ms, Some(at_ms + 72 * 3600 * 1000));
        let bytes = sample(put_off).encode(AT);
        assert_eq!(
            hex::encode(&bytes[512..536]),
            "66736e2d666174650100000080f40300c8515c18a3010000"
        );
        assert_eq!(Header::decode(&bytes, AT).unwrap().fate, put_off);
        assert_eq!(put_off.deferred_until_ms(), Some(at_ms + 72 * 3600 * 1000));
        assert_eq!(Fate::trashed(at_ms, None).deferred_until_ms(), None);
        // Rather longer than shorter.
        assert_eq!(
            Fate::trashed(at_ms, Some(at_ms + 1)).deferred_until_ms(),
            Some(at_ms + 1000)
        );
    }

    #[test]
    fn a_record_of_a_later_version_is_named_as_such() {
        let mut bytes = sample(Fate::Live).encode(AT);
        bytes[8] = 2;
        let sum = checksum(CONTEXT, AT, &[&bytes[..CHECKSUM_AT]]);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 32].copy_from_slice(&sum);
        let expected = Err(BadLabel::UnknownVersion(2));
        assert_eq!(Header::decode(&bytes, AT), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            length in 1..=MAX_BLOB_LEN as u64, stored_at_ms: u64, id: [u8; 32], seed: u8,
            segment: u64, position: u64, fate in 0..3_u8, at_ms: u64, deferred_s: u32,
        ) {
            let trashed = Fate::Trashed { at_ms, deferred_s };
            let fate = [Fate::Live, trashed, Fate::Dead][usize::from(fate)];
            let header = Header {
                id: BlobId::from_bytes(id),
                label: Label { length, stored_at_ms, locator: Locator::from_bytes([seed; Locator::LEN]) },
                fate,
            };
            let at = Location { segment, position };
            prop_assert_eq!(Header::decode(&header.encode(at), at), Ok(header));
        }

        #[test]
        fn no_flipped_bit_of_the_first_half_passes(bit in 0..160 * 8_usize) {
            let mut bytes = sample(Fate::Live).encode(AT);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&bytes, AT).is_err());
        }

        #[test]
        fn a_flipped_bit_of_the_second_half_brings_no_other_fate_than_live(bit in 0..56 * 8_usize) {
            let mut bytes = sample(Fate::Dead).encode(AT);
            bytes[FATE_AT + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes, AT), Ok(sample(Fate::Live)));
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..2000), honest_start: bool,
        ) {
            let mut bytes = bytes;
            if honest_start && bytes.len() >= 12 {
                bytes[..8].copy_from_slice(MAGIC);
                bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
            }
            prop_assert!(Header::decode(&bytes, AT).is_err());
            bytes.resize(HEADER_LEN, 0);
            prop_assert!(Header::decode(&bytes, AT).is_err());
        }

        #[test]
        fn lengths_that_no_blob_has_are_refused_even_under_a_good_checksum(length: u64) {
            prop_assume!(length == 0 || length > MAX_BLOB_LEN as u64);
            let label = Label { length, ..sample(Fate::Live).label };
            let header = Header { label, ..sample(Fate::Live) };
            prop_assert_eq!(Header::decode(&header.encode(AT), AT), Err(BadLabel::Checksum));
        }
    }

    #[test]
    fn no_tampered_header_passes_for_another_record() {
        let trashed = Fate::trashed(1_800_000_000_456, Some(1_800_300_000_000));
        let fates = [Fate::Live, trashed, Fate::Dead];
        let sound = fates.map(|fate| sample(fate).encode(AT).to_vec());
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        hostile::attack(crate_dir, "record-headers", sound, |bytes| {
            let mut padded = bytes.to_vec();
            padded.resize(HEADER_LEN, 0);
            for bytes in [bytes, &padded] {
                if let Ok(header) = Header::decode(bytes, AT) {
                    assert_eq!(
                        (header.id, header.label),
                        (sample(Fate::Live).id, sample(Fate::Live).label)
                    );
                    assert!(fates.contains(&header.fate));
                }
            }
        });
    }
}
