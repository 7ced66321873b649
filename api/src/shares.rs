//! `/shares`: links to a file, or to what a key of a bucket points to, for whoever has the link.
//!
//! What carries a link's id, a password or a token has no `Debug`, so that none gets into a log by chance.

use jiff::Timestamp;
use proto::FileId;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// 16 bytes of chance in base64url, made by who asks: so that an envelope can be sealed for it, and the same request sent
    /// again. Made here unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(example = "mZ2xv0Y4Qk2Yb1n3sFq0Zw", min_length = 22, max_length = 22)
    )]
    pub id: Option<String>,
    /// This file; or `bucket` and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<uuid::Uuid>))]
    pub file_id: Option<FileId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// What it points to whenever the link is opened; with `version_id` this version and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// As those see it who open the link; else the file's, or the last part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 1024))]
    pub name: Option<String>,
    /// Asked of whoever opens the link: 6 to 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 6, max_length = 1024))]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// After so many the link gives no content any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
    pub max_downloads: Option<u32>,
    /// For a file that was sealed before it was stored: what opens it, sealed for the secret behind the link's `#`; base64url,
    /// 16 KiB at most before that. It is kept and handed out, and can be read by nobody here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
    /// Shows copies and proofs, and no content.
    #[serde(default)]
    pub evidence: bool,
}

/// A share as its owner sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Share {
    #[cfg_attr(feature = "openapi", schema(example = "mZ2xv0Y4Qk2Yb1n3sFq0Zw"))]
    pub id: String,
    /// The link, without what belongs behind its `#`; a path alone where the network has not said where its site is.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "https://storage.example/s/mZ2xv0Y4Qk2Yb1n3sFq0Zw")
    )]
    pub url: String,
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<uuid::Uuid>))]
    pub file_id: Option<FileId>,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub version_id: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    pub has_password: bool,
    /// There is an envelope.
    pub sealed: bool,
    pub evidence: bool,
    pub downloads: u32,
    pub max_downloads: Option<u32>,
    pub sent_bytes: u64,
}

/// All of the account, the newest first.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Shares {
    pub items: Vec<Share>,
}

/// What is to be otherwise; what is left out stays, and `null` takes it away.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeShare {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Option<Timestamp>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000))]
    pub max_downloads: Option<Option<u32>>,
    /// Whoever had told the one before is asked again.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, min_length = 6, max_length = 1024))]
    pub password: Option<Option<String>>,
}

/// A member that is there, `null` included.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// A share as everybody sees it who has its link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedContent {
    /// Then there is nothing else here, until a token of `unlock` is shown.
    pub needs_password: bool,
    pub name: Option<String>,
    pub size_bytes: Option<u64>,
    pub content_type: Option<String>,
    /// Of all bytes, in hex, where it is known.
    pub sha256: Option<String>,
    /// Base64url.
    pub envelope: Option<String>,
    pub evidence: bool,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// `null` where there is no end to them.
    pub downloads_left: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnlockShare {
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    pub password: String,
}

/// To be shown in the header `Share-Token`, where cookies are not kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnlockedShare {
    pub token: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}
