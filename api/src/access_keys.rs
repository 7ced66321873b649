//! `/access-keys`: what programs sign in with in place of a password.
//!
//! What carries a secret has no `Debug`, so that none gets into a log by chance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAccessKey {
    /// What you know it by: 1 to 100 characters.
    #[cfg_attr(feature = "openapi", schema(example = "backup of the laptop"))]
    pub name: String,
    /// What it may do: some of `read`, `write`, `list`, `delete`, `account`.
    pub scopes: Vec<String>,
    /// Only in this bucket: over S3, and for `/buckets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Only what begins with this, in that bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// Addresses and networks that it may be used from, 32 at most; without them, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<String>,
    /// Good for signatures (SigV4), too. The secret is then kept, wrapped, in place of its hash alone.
    #[serde(default)]
    pub s3: bool,
    /// Bytes of files that may be sent and fetched with it on one day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Credits that may be spent with it on one day (UTC), whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits_per_day: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessKey {
    #[cfg_attr(feature = "openapi", schema(example = "FSNABCDEFGHIJKLMNOPQ"))]
    pub access_key_id: String,
    /// Only in the answer that makes the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    pub name: String,
    pub scopes: Vec<String>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    pub allowed_addresses: Vec<String>,
    pub s3: bool,
    pub bytes_per_day: Option<u64>,
    pub credits_per_day: Option<u64>,
    /// About a minute behind.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
    pub last_used_address: Option<String>,
}

/// All that are good, or have expired, the newest first.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessKeys {
    pub items: Vec<AccessKey>,
}
