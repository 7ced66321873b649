//! `/buckets`: names, and in each of them keys that point to stored bytes.
//!
//! `PUT buckets/{bucket}/objects/{key}` takes the bytes as they are, of any length, and answers [`Object`]. What is said of
//! them comes in headers: `Content-Type`, `x-fsn-meta-NAME`, `x-fsn-expires-at`, `x-fsn-envelope`, and the conditions
//! `If-Match: "ETAG"` and `If-None-Match: *`; digests are checked as those of files are. `GET|HEAD` answer the bytes, with
//! ranges and conditions, and the same headers; `?version=` names a version. `DELETE` deletes the key, or with `?version=`
//! that version for good. In a path each byte of a key but letters, digits and `-._~/` is percent-encoded:
//! [`crate::paths::object`] does it.
//!
//! A key is any UTF-8 without NUL, of up to 1024 bytes, and 2048 in a bucket whose names are sealed. Lists are in the order
//! of its bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::FileId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of an envelope, and [`ENVELOPE_BYTES_A_PART`] more for each part of the object.
pub const ENVELOPE_BYTES: usize = 16 * 1024;
pub const ENVELOPE_BYTES_A_PART: usize = 64;

/// Bytes of an envelope that a header carries; longer ones come with the [`ObjectTarget`] of an upload in steps, and are
/// read with `buckets/{bucket}/entry`.
pub const ENVELOPE_BYTES_IN_A_HEADER: usize = 4 * 1024;

/// Items on a page of a list with envelopes at most: as many as asked for, but no more than this.
pub const MOST_WITH_ENVELOPES: u16 = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewBucket {
    /// 3 to 63 lower-case letters, digits, `-` and `.`; unique in the network.
    #[cfg_attr(feature = "openapi", schema(example = "holiday-photos"))]
    pub name: String,
    /// `off`, unless told, or `enabled`: what is overwritten and deleted stays, and can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<String>,
    /// `plain`, unless told, or `sealed`: keys and envelopes are ciphertext of the client's. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bucket {
    /// The same as long as the bucket lives. Keys of sealed names come from it.
    pub bucket_id: Uuid,
    #[cfg_attr(feature = "openapi", schema(example = "holiday-photos"))]
    pub name: String,
    /// `off`, `enabled` or `suspended`.
    #[cfg_attr(feature = "openapi", schema(example = "off"))]
    pub versioning: String,
    /// `plain` or `sealed`.
    #[cfg_attr(feature = "openapi", schema(example = "plain"))]
    pub names: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// Only where one bucket is asked for.
    pub rules: Option<BucketRules>,
}

/// What is set for a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BucketRules {
    pub cors: Vec<CorsRule>,
    pub lifecycle: Vec<LifecycleRule>,
    /// Anybody may read keys that begin with one of these, from the listener for S3.
    pub public_read: Vec<String>,
    /// What is read there in place of a public key that ends with a slash.
    #[cfg_attr(feature = "openapi", schema(example = "index.html"))]
    pub index_document: Option<String>,
}

/// Which web pages may ask the listener for S3 for objects, and how. Origins and headers may have one `*` each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CorsRule {
    #[serde(default)]
    pub id: Option<String>,
    #[cfg_attr(feature = "openapi", schema(example = json!(["https://example.com"])))]
    pub origins: Vec<String>,
    /// `GET`, `HEAD`, `PUT`, `POST`, `DELETE`
    pub methods: Vec<String>,
    /// That a page may send.
    #[serde(default)]
    pub headers: Vec<String>,
    /// That a page may read.
    #[serde(default)]
    pub exposed: Vec<String>,
    #[serde(default)]
    pub max_age_seconds: Option<u32>,
}

/// Objects whose keys begin like this are deleted so many days after they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LifecycleRule {
    #[serde(default)]
    pub id: Option<String>,
    pub prefix: String,
    /// 1 to 36525
    pub days: u32,
    pub enabled: bool,
}

/// All of the account's, in order of name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Buckets {
    pub items: Vec<Bucket>,
}

/// What of a bucket changes; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BucketChange {
    /// `enabled`, or `suspended`: versions that are there stay, and what is written from now on replaces what is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<String>,
    /// All of them; none: no page may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<CorsRule>>,
    /// All of them; none: objects are kept for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Vec<LifecycleRule>>,
    /// All of them; none: nothing is public; an empty one: everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_read: Option<Vec<String>>,
    /// Empty: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_document: Option<String>,
}

/// A version of a key. Without versioning there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Object {
    #[cfg_attr(feature = "openapi", schema(example = "2026/beach.jpg"))]
    pub key: String,
    pub version_id: Uuid,
    pub is_latest: bool,
    /// Nothing but the word that the key was deleted: it has no bytes.
    pub is_marker: bool,
    pub size_bytes: u64,
    /// Without its quotes. `null` of a marker.
    pub etag: Option<String>,
    pub content_type: String,
    /// By names without `x-fsn-meta-`, in lower case.
    pub metadata: BTreeMap<String, String>,
    /// When this version became the key's latest.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it is deleted.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// What an end-to-end client keeps with it, in Base64; nothing that the network reads. Only where it is asked for.
    pub envelope: Option<String>,
    /// The stored files that its bytes are, in order: whose receipts and proofs can be asked for. Only in
    /// `buckets/{bucket}/entry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<Uuid>>))]
    pub file_ids: Option<Vec<FileId>>,
}

/// The query of a bucket's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ObjectsParams {
    /// Only keys that begin like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys that go on behind the first of these after the prefix are told by their beginning alone, in `prefixes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Only what comes behind this key, or behind all keys that begin with this entry of `prefixes`: `next_after` of the
    /// page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// With `versions`: of the key `after`, only versions that are older than this: `next_after_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_version: Option<Uuid>,
    /// Objects and prefixes on a page together, 1 to 1000; 100 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
    /// `true`: all versions, markers included; those of a key together, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<bool>,
    /// `true`: with envelopes, 100 objects on a page at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<bool>,
}

/// A page of a bucket's objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Objects {
    pub items: Vec<Object>,
    /// What further keys begin with, up to the delimiter.
    pub prefixes: Vec<String>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    pub next_after: Option<String>,
    /// And this, if it is there, as `after_version`.
    pub next_after_version: Option<Uuid>,
}

/// The query of one object's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ObjectParams {
    /// The latest, unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Uuid>,
    /// `true`: the answer has `x-fsn-envelope`, if there is one of up to 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<bool>,
}

/// The query of what is known of an object, with its envelope: `buckets/{bucket}/entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct EntryParams {
    pub key: String,
    /// The latest, unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Uuid>,
}

/// What is to point to bytes that are stored: an upload in steps names it when it begins, and its `complete` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectTarget {
    /// Of a copy or a move: the same bucket, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    pub key: String,
    /// Of an upload: its own, unless told. Of a copy: that of what is copied, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Names without `x-fsn-meta-`, and values in ASCII; 8 KiB together. Of a copy: that of what is copied, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// When it is deleted; never, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// Base64, of up to 16 KiB and 64 bytes for each part. Of a copy: that of what is copied, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
    /// Only if the key's latest version has this ETag when it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// `*`: only if there is no such key when it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_none_match: Option<String>,
}

/// `buckets/{bucket}/copy`, and `…/move`: which of the bucket's objects, and where to. No bytes move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CopyBody {
    pub key: String,
    /// The latest, unless told. What is moved is the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Uuid>,
    pub to: ObjectTarget,
}

/// `buckets/{bucket}/restore`: an older version becomes the latest again, as one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreBody {
    pub key: String,
    pub version: Uuid,
}

/// The query of a bucket's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ChangesParams {
    /// `seq` of the last change that the client has seen; 0 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Changes on a page, 1 to 1000; 100 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
}

/// Something has happened to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// From 1 on, without a gap.
    pub seq: u64,
    pub key: String,
    pub version_id: Uuid,
    /// `put`: the version is the key's latest. `marker`: the key was deleted, and its versions stay. `removed`: the version
    /// is gone; if it was the latest, and there is an older one, that is it now.
    #[cfg_attr(feature = "openapi", schema(example = "put"))]
    pub what: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
}

/// A page of a bucket's changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changes {
    pub items: Vec<Change>,
    /// The number of the bucket's last change: who lists the bucket goes on from the one that was told before the list.
    pub last_seq: u64,
}
