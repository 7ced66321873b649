//! What is known of a file, kept beside its sealed name.

use std::collections::BTreeMap;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::FileKey;
use super::share::{open_json, seal_json};
use crate::{OpenError, SealError};

/// Members in alphabetical order, which is the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// With which each part of the content begins.
    pub commit: Commitments,
    /// The file's key.
    #[serde(with = "super::share::bytes")]
    pub k: Zeroizing<[u8; 32]>,
    /// What its owner wants to keep beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// When the file was changed last, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ms: Option<i64>,
    /// Length of the content before it was sealed.
    pub size: u64,
    /// The content's media type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Of one part, or of each of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Commitments {
    /// The whole content is one part.
    One(#[serde(with = "super::share::bytes")] [u8; 32]),
    /// In the order of the parts.
    Each(Vec<Commitment>),
}

/// In base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(#[serde(with = "super::share::bytes")] pub [u8; 32]);

impl Envelope {
    /// The file's key.
    pub fn key(&self) -> FileKey {
        FileKey::from_bytes(self.k.clone())
    }

    pub(super) fn seal(
        &self,
        key: &[u8; 32],
        aad: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        seal_json(key, aad, self, rng)
    }

    pub(super) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Self, OpenError> {
        open_json(key, aad, sealed)
    }
}
