//! `/files/upload`: the three steps, and the query of `POST|PUT /files`: all in one request.
//!
//! A chunk's body, and that of an upload in one request, are the bytes themselves. A single request may
//! also be a multipart form with one file in it. `Content-Digest`, `Repr-Digest` (sha-256) and `Content-MD5` are
//! checked.

use std::ops::Range;

use jiff::Timestamp;
use proto::{FileId, MicroCredits, UploadId};
use serde::{Deserialize, Serialize};

use crate::buckets::ObjectTarget;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InitiateBody {
    /// Any Unicode without NUL, 1 to 1024 bytes of UTF-8; names need not be unique. With a `target` it is called like
    /// its key, and this is left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "openapi", schema(example = "test.txt"))]
    pub filename: String,
    #[cfg_attr(feature = "openapi", schema(example = 1024))]
    pub size_bytes: u64,
    /// `application/octet-stream` unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What of a bucket points to it from `complete` on. It is then an object's, and not among the account's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ObjectTarget>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Initiated {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub upload_id: UploadId,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub file_id: FileId,
    pub chunk_size_bytes: u32,
    pub chunk_count: u64,
    /// Held now; moved to escrow when the upload completes.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub cost_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

impl Initiated {
    /// Of the chunks, in order.
    pub fn indices(&self) -> Range<u32> {
        0..u32::try_from(self.chunk_count).unwrap_or(u32::MAX)
    }

    /// The bytes of a file of `size_bytes` that go into the chunk `index`; empty behind its end.
    pub fn chunk_range(&self, index: u32, size_bytes: u64) -> Range<u64> {
        let chunk = u64::from(self.chunk_size_bytes);
        let start = (u64::from(index) * chunk).min(size_bytes);
        start..(start + chunk).min(size_bytes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ChunkParams {
    /// Counted from 0.
    pub index: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chunk {
    pub index: u32,
    pub size_bytes: u32,
    /// Of the bytes that were sent, 64 hex digits.
    pub sha256: String,
    /// Nodes that have signed a receipt for a copy of their own.
    pub replicas: u32,
}

/// Chunks that one body may bring at most.
pub const MAX_CHUNKS_IN_A_BODY: u32 = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ChunksParams {
    /// The chunk with which the body begins, counted from 0.
    pub first: u32,
}

/// Chunks that came in one body, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chunks {
    pub first: u32,
    pub count: u32,
    /// Of the bytes of each, 64 hex digits, in order.
    pub sha256: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct StatusParams {
    /// The first of up to 1000 chunks whose digests are told; 0 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_index: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadStatus {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub upload_id: UploadId,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub file_id: FileId,
    #[cfg_attr(feature = "openapi", schema(example = "open"))]
    pub state: String,
    /// `null` while a body of unknown length is being read.
    pub chunk_count: Option<u64>,
    /// The first 1000 indices that have not been sent.
    pub missing: Vec<u32>,
    pub missing_count: u64,
    /// Digests of the chunks that are there, so that a changed source shows.
    pub chunks: Vec<ChunkDigest>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChunkDigest {
    pub index: u32,
    /// `null` for chunks that came in one streaming request.
    pub sha256: Option<String>,
}

/// What `complete` may be told. Its body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompleteBody {
    /// Of the whole file, 64 hex digits. The chunks are read back and compared with it before the file becomes
    /// visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct UploadParams {
    /// Needed with a raw body; a form brings its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}
