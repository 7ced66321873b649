//! `/files`: what is stored. For bringing files in see [`crate::uploads`].
//!
//! `GET|HEAD /files/{id}/download` answers the file's bytes, with its type, an `ETag` that is the file's
//! id, its `Repr-Digest`, and ranges.

use jiff::Timestamp;
use proto::FileId;
use serde::{Deserialize, Serialize};

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct File {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub file_id: FileId,
    pub filename: String,
    pub size_bytes: u64,
    /// Of all its bytes, 64 hex digits. `null` for files of older releases, and for a while after a large upload
    /// in steps.
    pub sha256: Option<String>,
    pub content_type: String,
    pub chunk_size_bytes: u32,
    pub chunk_count: u64,
    /// How it is kept: `standard`, as copies, or `dense`, in coded pieces. Coordinators of older releases do not tell.
    #[serde(default = "standard")]
    #[cfg_attr(feature = "openapi", schema(example = "standard"))]
    pub class: String,
    #[cfg_attr(feature = "openapi", schema(example = "ready"))]
    pub state: String,
    /// When its upload was begun.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it became visible. Coordinators of older releases do not tell.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub paid_until: Timestamp,
    /// Since when its renewal could not be paid; it is kept until `paid_until`, and then deleted. `null`
    /// when all is well.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub grace_since: Option<Timestamp>,
}

fn standard() -> String {
    "standard".to_owned()
}

/// The query of the caller's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ListParams {
    /// Only names that begin like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `-completed_at` (newest first, unless told; `-created_at`, its old name, is the same) or `name` (in byte
    /// order).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Items on a page, 1 to 1000; 100 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
