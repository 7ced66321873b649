//! Objects: names that point to stored bytes. Bytes stay what they are, files that never change and go by their id; a key
//! of a bucket is a pointer, and what it points to may change in one transaction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use proto::FileId;
use serde::{Deserialize, Serialize};

use crate::ids::{BucketId, MultipartId, UserId, VersionId};
use crate::names::{ContentType, InvalidText, ObjectKey};
use crate::terms::Terms;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub owner: UserId,
    pub name: String,
    pub versioning: Versioning,
    pub names: Names,
    pub created_at: Timestamp,
}

impl Bucket {
    /// A key of it, by its length.
    pub fn key(&self, key: String) -> Result<ObjectKey, InvalidText> {
        match self.names {
            Names::Plain => ObjectKey::try_from(key),
            Names::Sealed => ObjectKey::sealed(key),
        }
    }
}

/// Who can read the keys of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Plain,
    /// Its owner alone: they are ciphertext, and are compared here and no more.
    Sealed,
}

impl Names {
    pub const ALL: [Self; 2] = [Self::Plain, Self::Sealed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sealed => "sealed",
        }
    }
}

/// What becomes of the version that a new one takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It goes. So it has been since the bucket was made.
    Off,
    /// It stays, and can be read by its id.
    Enabled,
    /// It stays, unless it was written while versions were not kept, too.
    Suspended,
}

impl Versioning {
    pub const ALL: [Self; 3] = [Self::Off, Self::Enabled, Self::Suspended];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }

    /// Whether what is written now has an id of its own that outlives the next write.
    pub const fn keeps(self) -> bool {
        matches!(self, Self::Enabled)
    }
}

/// Which version of a key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRef {
    Latest,
    /// The one that was written while the bucket kept no versions.
    Null,
    Id(VersionId),
}

/// What a client says of an object besides its bytes, by the names of headers: `cache-control` and the like, and its own
/// under `x-amz-meta-`. It is kept and handed back, and means nothing here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectMetadata(BTreeMap<String, String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    #[error(
        "metadata has at most {} bytes, names and values together",
        ObjectMetadata::MAX_BYTES
    )]
    TooLong,
    #[error("metadata cannot contain the NUL character")]
    Nul,
}

impl ObjectMetadata {
    pub const MAX_BYTES: usize = 8 * 1024;

    pub fn new(entries: BTreeMap<String, String>) -> Result<Self, InvalidMetadata> {
        let metadata = Self(entries);
        if metadata.bytes() > Self::MAX_BYTES {
            return Err(InvalidMetadata::TooLong);
        }
        let has_nul = |text: &String| text.contains('\0');
        if metadata
            .0
            .iter()
            .any(|(name, value)| has_nul(name) || has_nul(value))
        {
            return Err(InvalidMetadata::Nul);
        }
        Ok(metadata)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names and values together, as they are billed.
    pub fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// What an end-to-end client keeps with an object. Nobody here reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope(Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope has at most {0} bytes here: 16 KiB, and 64 for each part of the object")]
pub struct EnvelopeTooLong(usize);

impl Envelope {
    /// Of an object of so many parts.
    pub fn new(bytes: Vec<u8>, parts: usize) -> Result<Self, EnvelopeTooLong> {
        let most = 16 * 1024 + 64 * parts;
        match bytes.len() <= most {
            true => Ok(Self(bytes)),
            false => Err(EnvelopeTooLong(most)),
        }
    }

    /// That was looked at when it was stored.
    pub const fn stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the bytes of an object are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentSum {
    /// MD5 in hex; of an object in parts the MD5 of theirs, and how many they are.
    pub etag: String,
    pub checksum: Option<StoredChecksum>,
}

/// As the client sent it, and as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChecksum {
    /// Like `CRC64NVME`.
    pub algorithm: String,
    /// In Base64.
    pub value: String,
    /// Whether it is that of all bytes, or one of the parts' checksums.
    #[serde(default)]
    pub of_parts: bool,
}

/// Filled in when the last byte has come.
pub type SumSlot = Arc<OnceLock<ContentSum>>;

/// A version of a key.
#[derive(Debug, Clone)]
pub struct ObjectVersion {
    pub bucket: BucketId,
    pub key: String,
    pub id: VersionId,
    /// Written while the bucket kept no versions.
    pub is_null: bool,
    pub is_latest: bool,
    /// Nothing but the word that the key was deleted.
    pub is_marker: bool,
    pub size_bytes: u64,
    /// Empty of a marker.
    pub etag: String,
    pub checksum: Option<StoredChecksum>,
    pub content_type: String,
    pub metadata: ObjectMetadata,
    pub created_at: Timestamp,
    /// When it is deleted.
    pub expires_at: Option<Timestamp>,
}

/// What is said of an object besides its bytes, by whoever writes it.
#[derive(Debug, Clone)]
pub struct Described {
    pub key: ObjectKey,
    pub content_type: ContentType,
    pub metadata: ObjectMetadata,
    pub envelope: Option<Envelope>,
    /// When it is deleted.
    pub expires_at: Option<Timestamp>,
    pub condition: WriteCondition,
}

impl Described {
    /// With nothing said of it.
    pub fn plain(key: ObjectKey) -> Self {
        Self {
            key,
            content_type: ContentType::octet_stream(),
            metadata: ObjectMetadata::default(),
            envelope: None,
            expires_at: None,
            condition: WriteCondition::None,
        }
    }

    /// What is billed of it besides its bytes.
    fn billed_bytes(&self) -> usize {
        let envelope = self.envelope.as_ref();
        let envelope = envelope.map_or(0, |envelope| envelope.as_bytes().len());
        self.key.as_str().len() + self.metadata.bytes() + envelope
    }

    /// Its terms, with so many bytes.
    pub fn terms(&self, size_bytes: u64) -> Terms {
        Terms::beside(self.billed_bytes(), size_bytes)
    }
}

/// What has become of a key, or a version, that was to be deleted.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// There was none, which is as good.
    Nothing,
    /// A version is gone for good.
    Version(Box<ObjectVersion>),
    /// A marker stands before the versions, which stay.
    Marked(VersionId),
}

/// One line of a list.
#[expect(
    clippy::large_enum_variant,
    reason = "most lines of a list are objects"
)]
#[derive(Debug, Clone)]
pub enum ListEntry {
    Object(ObjectVersion),
    /// What many keys begin with, up to a delimiter.
    Prefix(String),
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct ListPage<N> {
    pub entries: Vec<ListEntry>,
    /// Where the next one begins; `None` when there is nothing more.
    pub next: Option<N>,
}

/// An object that comes in parts, until it is complete.
#[derive(Debug, Clone)]
pub struct Multipart {
    pub id: MultipartId,
    pub bucket: BucketId,
    pub key: String,
    pub content_type: String,
    pub metadata: ObjectMetadata,
    /// What the client means to send with each part, like `CRC64NVME`.
    pub checksum_algorithm: Option<String>,
    pub created_at: Timestamp,
    pub completed_as: Option<VersionId>,
}

/// A part of it that is stored.
#[derive(Debug, Clone)]
pub struct MultipartPart {
    pub number: u32,
    pub file_id: FileId,
    pub size_bytes: u64,
    /// MD5 in hex.
    pub etag: String,
    pub checksum: Option<StoredChecksum>,
    pub stored_at: Timestamp,
}

/// Some bytes of an object: a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPart {
    /// From 1 on, in the order of the bytes.
    pub number: u32,
    pub file_id: FileId,
    pub size_bytes: u64,
    pub md5: Option<[u8; 16]>,
}

/// What a file that is on its way in will be, in the transaction that makes it visible.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each upload under way"
)]
#[derive(Debug, Clone)]
pub enum Target {
    Object(NewObject),
    Part(NewPart),
}

/// A version that is about to become a key's latest.
#[derive(Debug, Clone)]
pub struct NewObject {
    pub bucket: BucketId,
    pub version: VersionId,
    pub described: Described,
    pub content: ObjectContent,
}

#[derive(Debug, Clone)]
pub enum ObjectContent {
    /// The file that comes in.
    File(SumSlot),
    /// What other files hold; the one that comes in is empty, and what the version is billed by.
    Parts {
        parts: Vec<ObjectPart>,
        sum: ContentSum,
        /// Ends with it.
        multipart: Option<MultipartId>,
    },
    /// Nothing: the key is deleted, and its versions stay. The file that comes in is empty, as above.
    Marker,
}

/// A part of an object that is not complete yet.
#[derive(Debug, Clone)]
pub struct NewPart {
    pub multipart: MultipartId,
    pub number: u32,
    pub sum: SumSlot,
}

/// What has to hold of a key's latest version at the moment that another one takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteCondition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match`
    Etag(String),
}

impl WriteCondition {
    /// `etag`: of the latest version, if there is one and it is no marker.
    pub fn holds(&self, etag: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => etag.is_none(),
            Self::Etag(wanted) => etag == Some(wanted.as_str()),
        }
    }
}

impl ContentSum {
    /// Of bytes that nobody has taken an MD5 of, which this says by its form: those of one version.
    pub fn of_version(version: VersionId) -> Self {
        Self {
            etag: format!("{}-0", version.as_uuid().simple()),
            checksum: None,
        }
    }
}

impl NewObject {
    /// The upload in parts that ends with it.
    pub fn completes(&self) -> Option<MultipartId> {
        match &self.content {
            ObjectContent::Parts { multipart, .. } => *multipart,
            ObjectContent::File(_) | ObjectContent::Marker => None,
        }
    }
}

impl Target {
    /// Files that are there already and that it is to point to.
    pub fn sources(&self) -> impl Iterator<Item = FileId> {
        let parts: &[ObjectPart] = match self {
            Self::Object(NewObject {
                content: ObjectContent::Parts { parts, .. },
                ..
            }) => parts,
            _ => &[],
        };
        parts.iter().map(|part| part.file_id)
    }

    /// The terms that its file is sold under, which is called like the key.
    pub fn terms(&self, key: &str, size_bytes: u64) -> Terms {
        match self {
            Self::Object(object) => object.described.terms(size_bytes),
            Self::Part(_) => Terms::beside(key.len(), size_bytes),
        }
    }

    /// Targets with the same number are written one after the other.
    pub fn lock(&self) -> i64 {
        match self {
            Self::Object(object) => key_lock(object.bucket, object.described.key.as_str()),
            Self::Part(part) => {
                let number = part.number.to_be_bytes();
                lock_of(&[part.multipart.as_bytes(), &number])
            }
        }
    }
}

/// The number that writers of a key lock; others may have the same and then wait in vain, which is all.
pub fn key_lock(bucket: BucketId, key: &str) -> i64 {
    lock_of(&[bucket.as_bytes(), key.as_bytes()])
}

fn lock_of(parts: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    i64::from_le_bytes(bytes)
}

/// Which bytes of which files a range of an object is. The parts are in order; the range lies within them.
pub fn slices(parts: &[ObjectPart], range: &Range<u64>) -> Vec<(FileId, Range<u64>)> {
    let mut slices = Vec::new();
    let mut start = 0;
    for part in parts {
        let end = start + part.size_bytes;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            slices.push((part.file_id, from - start..to - start));
        }
        start = end;
    }
    slices
}

/// Why a name cannot point to a file, though its bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefusal {
    #[error("there is no such bucket")]
    NoSuchBucket,
    #[error("there is no such multipart upload")]
    NoSuchMultipart,
    #[error("the key's latest version is not what the condition says")]
    ConditionFailed,
    #[error("another write of this key came at the same time as a conditional one")]
    Conflict,
    #[error("what was to be pointed at is gone")]
    SourceGone,
    #[error("nobody has said what the content hashes to")]
    Unsummed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> Result<ObjectMetadata, InvalidMetadata> {
        let entries = entries.iter();
        ObjectMetadata::new(
            entries
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn metadata_is_bounded_and_can_be_written_down() {
        assert_eq!(metadata(&[("x-amz-meta-a", "bc")]).unwrap().bytes(), 14);
        assert_eq!(
            metadata(&[("a", &"x".repeat(8192))]),
            Err(InvalidMetadata::TooLong)
        );
        assert_eq!(metadata(&[("a", "b\0c")]), Err(InvalidMetadata::Nul));
    }

    proptest! {
        #[test]
        fn the_slices_of_a_range_are_its_bytes(
            sizes in prop::collection::vec(0u64..9, 0..8), a in 0u64..80, b in 0u64..80,
        ) {
            let total: u64 = sizes.iter().sum();
            let range = a.min(b).min(total)..a.max(b).min(total);
            let parts: Vec<_> = (1..).zip(&sizes).map(|(number, size_bytes)| ObjectPart {
                number,
                file_id: FileId::from_bytes([number as u8; 16]),
                size_bytes: *size_bytes,
                md5: None,
            }).collect();
            // Each byte by the file and the place in it.
            let all: Vec<_> = parts.iter()
                .flat_map(|part| (0..part.size_bytes).map(|place| (part.file_id, place)))
                .collect();
            let sliced: Vec<_> = slices(&parts, &range).into_iter()
                .flat_map(|(file, range)| range.map(move |place| (file, place)))
                .collect();
            prop_assert_eq!(&all[range.start as usize..range.end as usize], &sliced[..]);
        }
    }

    #[test]
    fn a_condition_speaks_of_what_is_there() {
        let tag = || WriteCondition::Etag("x".to_owned());
        for (condition, etag, holds) in [
            (WriteCondition::None, None, true),
            (WriteCondition::None, Some("x"), true),
            (WriteCondition::Absent, None, true),
            (WriteCondition::Absent, Some("x"), false),
            (tag(), None, false),
            (tag(), Some("x"), true),
            (tag(), Some("y"), false),
        ] {
            assert_eq!(condition.holds(etag), holds, "{condition:?} {etag:?}");
        }
    }
}
