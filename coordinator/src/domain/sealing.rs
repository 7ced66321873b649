//! Sealing: every replica of a chunk is its own ciphertext.
//!
//! blob = nonce[12] ‖ AES-256-GCM(chunk) ‖ tag[16], with a fresh random nonce for each replica and
//! AAD = `fsn v1 replica` ‖ file id[16] ‖ index:u32 BE ‖ plaintext length:u32 BE. The blob's name is
//! the BLAKE3 hash of these bytes, so no two replicas share a name, and no node can answer for
//! another. A sealed blob goes to one node only; a hedge or a repair seals afresh.
//!
//! AES-GCM comes from aws-lc, which the TLS and QUIC of the peer network bring along: its assembly is
//! as fast in an unoptimised build as in a release, and fastest on processors without VAES.
//!
//! Rejected: one ciphertext for all replicas. It would save two thirds of the sealing, and a proof
//! would then show that somebody holds the bytes, not that this node does.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use hkdf::Hkdf;
use proto::{BlobId, FileId, Locator};
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// What sealing adds to a chunk.
pub const SEALING_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Length of a wrapped data key.
pub const WRAPPED_KEY_LEN: usize = 32 + SEALING_OVERHEAD;

/// Bytes that a key or a place does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes were not sealed with this key for this place")]
pub struct OpenError;

/// Which chunk of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkRef {
    pub file_id: FileId,
    pub index: u32,
}

/// A replica ready to be sent to one node.
#[derive(Debug, Clone)]
pub struct SealedBlob {
    pub blob_id: BlobId,
    pub data: Bytes,
}

/// A file's data key (DEK).
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    cipher: Cipher,
}

impl DataKey {
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, OpenError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        Self::from_bytes(bytes)
    }

    fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Result<Self, OpenError> {
        let cipher = Cipher::new(&bytes)?;
        Ok(Self { bytes, cipher })
    }

    /// Seals a chunk that arrives in pieces; they are copied once, into the blob.
    pub fn seal(
        &self,
        chunk: ChunkRef,
        pieces: &[Bytes],
        rng: &mut impl CryptoRng,
    ) -> Result<SealedBlob, OpenError> {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let mut blob = BytesMut::with_capacity(length + SEALING_OVERHEAD);
        let nonce = random_nonce(rng);
        blob.extend_from_slice(&nonce);
        for piece in pieces {
            blob.extend_from_slice(piece);
        }
        let aad = replica_aad(chunk, length);
        let tag = self.cipher.seal(nonce, &aad, &mut blob[NONCE_LEN..])?;
        blob.extend_from_slice(&tag);
        Ok(SealedBlob {
            blob_id: BlobId::of(&blob),
            data: blob.freeze(),
        })
    }

    /// Opens a blob in place and returns the chunk, a slice of the same memory.
    pub fn open(&self, chunk: ChunkRef, mut blob: BytesMut) -> Result<Bytes, OpenError> {
        let length = blob.len().checked_sub(SEALING_OVERHEAD).ok_or(OpenError)?;
        self.cipher.open(&replica_aad(chunk, length), &mut blob)?;
        Ok(blob.freeze().slice(NONCE_LEN..NONCE_LEN + length))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// A key that wraps data keys and seals locators. Its bytes come from a file, never the database.
pub struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
    locator_cipher: Cipher,
}

impl MasterKey {
    pub fn new(id: String, bytes: Zeroizing<[u8; 32]>) -> Result<Self, OpenError> {
        let locator_key = derive(&bytes, &[], b"fsn v1 locator");
        Ok(Self {
            locator_cipher: Cipher::new(&locator_key)?,
            id,
            bytes,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// nonce[12] ‖ AES-256-GCM(DEK) ‖ tag under HKDF-SHA256(master key, salt = file id,
    /// info = `fsn v1 wrap`), AAD = file id ‖ master-key id.
    pub fn wrap(
        &self,
        file_id: FileId,
        key: &DataKey,
        rng: &mut impl CryptoRng,
    ) -> Result<[u8; WRAPPED_KEY_LEN], OpenError> {
        let cipher = self.wrapping_cipher(file_id)?;
        let mut wrapped = [0; WRAPPED_KEY_LEN];
        wrapped[NONCE_LEN..NONCE_LEN + 32].copy_from_slice(&key.bytes[..]);
        cipher.seal_between(random_nonce(rng), &self.wrap_aad(file_id), &mut wrapped)?;
        Ok(wrapped)
    }

    pub fn unwrap(&self, file_id: FileId, wrapped: &[u8]) -> Result<DataKey, OpenError> {
        let mut wrapped: Zeroizing<[u8; WRAPPED_KEY_LEN]> =
            Zeroizing::new(wrapped.try_into().map_err(|_| OpenError)?);
        let cipher = self.wrapping_cipher(file_id)?;
        cipher.open(&self.wrap_aad(file_id), &mut wrapped[..])?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&wrapped[NONCE_LEN..NONCE_LEN + 32]);
        DataKey::from_bytes(bytes)
    }

    /// nonce[12] ‖ AES-256-GCM(file id[16] ‖ index:u32 BE ‖ version:u64 BE ‖ zero[8]) ‖ tag under
    /// HKDF-SHA256(master key, info = `fsn v1 locator`), AAD = `fsn v1 locator`.
    pub fn seal_locator(
        &self,
        place: &Place,
        rng: &mut impl CryptoRng,
    ) -> Result<Locator, OpenError> {
        let mut bytes = [0; Locator::LEN];
        bytes[12..28].copy_from_slice(place.chunk.file_id.as_bytes());
        bytes[28..32].copy_from_slice(&place.chunk.index.to_be_bytes());
        bytes[32..40].copy_from_slice(&place.version.to_be_bytes());
        let cipher = &self.locator_cipher;
        cipher.seal_between(random_nonce(rng), LOCATOR_AAD, &mut bytes)?;
        Ok(Locator::from_bytes(bytes))
    }

    pub fn open_locator(&self, locator: &Locator) -> Result<Place, OpenError> {
        let mut bytes = *locator.as_bytes();
        self.locator_cipher.open(LOCATOR_AAD, &mut bytes)?;
        let index = bytes[28..32].try_into().map_err(|_| OpenError)?;
        let version = bytes[32..40].try_into().map_err(|_| OpenError)?;
        Ok(Place {
            chunk: ChunkRef {
                file_id: FileId::try_from(&bytes[12..28]).map_err(|_| OpenError)?,
                index: u32::from_be_bytes(index),
            },
            version: u64::from_be_bytes(version),
        })
    }

    fn wrapping_cipher(&self, file_id: FileId) -> Result<Cipher, OpenError> {
        Cipher::new(&derive(&self.bytes, file_id.as_bytes(), b"fsn v1 wrap"))
    }

    fn wrap_aad(&self, file_id: FileId) -> Vec<u8> {
        [file_id.as_bytes(), self.id.as_bytes()].concat()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

const LOCATOR_AAD: &[u8] = b"fsn v1 locator";

/// What a locator says: the chunk, and which sending of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub chunk: ChunkRef,
    /// Grows with every time the chunk is sent.
    pub version: u64,
}

fn replica_aad(chunk: ChunkRef, plaintext_len: usize) -> [u8; 38] {
    let mut aad = [0; 38];
    aad[..14].copy_from_slice(b"fsn v1 replica");
    aad[14..30].copy_from_slice(chunk.file_id.as_bytes());
    aad[30..34].copy_from_slice(&chunk.index.to_be_bytes());
    aad[34..].copy_from_slice(&(plaintext_len as u32).to_be_bytes());
    aad
}

fn random_nonce(rng: &mut impl CryptoRng) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    nonce
}

/// AES-256-GCM over nonce ‖ text ‖ tag. The library wipes its key schedule.
struct Cipher(LessSafeKey);

impl Cipher {
    fn new(key: &[u8; 32]) -> Result<Self, OpenError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| OpenError)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals `text` where it lies.
    fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.map_err(|_| OpenError)?;
        tag.as_ref().try_into().map_err(|_| OpenError)
    }

    /// Seals what lies between the places of the nonce and the tag, and writes those.
    fn seal_between(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        blob: &mut [u8],
    ) -> Result<(), OpenError> {
        let (head, rest) = blob.split_at_mut_checked(NONCE_LEN).ok_or(OpenError)?;
        let length = rest.len().checked_sub(TAG_LEN).ok_or(OpenError)?;
        let (text, tail) = rest.split_at_mut(length);
        tail.copy_from_slice(&self.seal(nonce, aad, text)?);
        head.copy_from_slice(&nonce);
        Ok(())
    }

    /// Opens the text where it lies, behind the nonce.
    fn open(&self, aad: &[u8], blob: &mut [u8]) -> Result<(), OpenError> {
        let (nonce, sealed) = blob.split_at_mut_checked(NONCE_LEN).ok_or(OpenError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError)?;
        self.0
            .open_in_place(nonce, Aad::from(aad), sealed)
            .map(|_| ())
            .map_err(|_| OpenError)
    }
}

fn derive(key: &[u8; 32], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    // HKDF-SHA256 gives up to 8160 bytes; 32 always fit.
    let _ = Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut derived[..]);
    derived
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use uuid::Uuid;

    use super::*;

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
        let key = DataKey::generate(&mut rng).unwrap();
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
        let key = DataKey::generate(&mut rng).unwrap();
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
        let key = DataKey::generate(&mut rng).unwrap();
        let wrapped = master("m1").wrap(file, &key, &mut rng).unwrap();
        assert_eq!(
            master("m1").unwrap(file, &wrapped).unwrap().bytes,
            key.bytes
        );
        assert!(master("m1").unwrap(other, &wrapped).is_err());
        assert!(master("m2").unwrap(file, &wrapped).is_err());
        assert!(master("m1").unwrap(file, &wrapped[1..]).is_err());
    }

    #[test]
    fn a_locator_says_where_its_blob_belongs() {
        let place = Place {
            chunk: chunk(77),
            version: 1_700_000_000_123,
        };
        let mut locator = *master("m1")
            .seal_locator(&place, &mut rng())
            .unwrap()
            .as_bytes();
        let open = |bytes| master("m1").open_locator(&Locator::from_bytes(bytes));
        assert_eq!(open(locator).unwrap(), place);
        locator[20] ^= 1;
        assert_eq!(open(locator), Err(OpenError));
    }

    /// The formats of DESIGN section 5, byte for byte: what is stored today must open tomorrow.
    #[test]
    fn sealed_formats_stay_as_they_are() {
        let mut rng = rng();
        let key = DataKey::from_bytes(Zeroizing::new([1; 32])).unwrap();
        let blob = seal(&key, chunk(2), b"golden", &mut rng);
        let wrapped = master("m1").wrap(chunk(0).file_id, &key, &mut rng).unwrap();
        let place = Place {
            chunk: chunk(2),
            version: 5,
        };
        let locator = master("m1").seal_locator(&place, &mut rng).unwrap();
        insta::assert_snapshot!(format!(
            "blob {}\nblob id {}\nwrapped {}\nlocator {}",
            hex::encode(&blob.data),
            blob.blob_id,
            hex::encode(wrapped),
            hex::encode(locator.as_bytes())
        ));
    }

    proptest! {
        #[test]
        fn what_is_sealed_in_pieces_opens_whole(pieces: Vec<Vec<u8>>) {
            let mut rng = rng();
            let key = DataKey::generate(&mut rng).unwrap();
            let whole = pieces.concat();
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            let blob = key.seal(chunk(1), &pieces, &mut rng).unwrap();
            let opened = key.open(chunk(1), BytesMut::from(&blob.data[..])).unwrap();
            prop_assert_eq!(&opened[..], &whole[..]);
        }

        #[test]
        fn any_changed_bit_is_noticed(plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut rng = rng();
            let key = DataKey::generate(&mut rng).unwrap();
            let blob = seal(&key, chunk(1), &plain, &mut rng).data;
            let mut damaged = BytesMut::from(&blob[..]);
            let position = at.index(damaged.len());
            damaged[position] ^= 1 << bit;
            prop_assert_eq!(key.open(chunk(1), damaged), Err(OpenError));
        }

        #[test]
        fn arbitrary_bytes_do_not_open(bytes: Vec<u8>) {
            let key = DataKey::generate(&mut rng()).unwrap();
            prop_assert!(key.open(chunk(1), BytesMut::from(&bytes[..])).is_err());
        }
    }
}
