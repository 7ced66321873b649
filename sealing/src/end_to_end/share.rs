//! What a link shows to whoever has it, sealed under a secret that is in the link alone; and how JSON is sealed.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rand::CryptoRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Commitments, FileKey};
use crate::cipher::{Cipher, NONCE_LEN, SEALING_OVERHEAD, random_nonce};
use crate::derive::derive_from;
use crate::{OpenError, SealError};

const VERSION: u8 = 1;

/// By which a coordinator finds a share; it keeps no more of it than its BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareId(pub [u8; 16]);

/// The part of a link behind the `#`.
pub struct ShareSecret(Zeroizing<[u8; 16]>);

/// What a link shows. Members in alphabetical order, which is the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// With which each part of the content begins.
    pub commit: Commitments,
    /// The file's key.
    #[serde(with = "bytes")]
    pub k: Zeroizing<[u8; 32]>,
    /// How it is called where it is saved.
    pub name: String,
    /// Length of the content.
    pub size: u64,
    /// The content's media type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

impl Shared {
    /// The file's key.
    pub fn key(&self) -> FileKey {
        FileKey::from_bytes(self.k.clone())
    }
}

impl ShareId {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// As it stands in a link.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl ShareSecret {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 16]);
        rng.fill_bytes(&mut bytes[..]);
        Self(bytes)
    }

    /// As it stands in a link.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text).ok()?);
        bytes[..]
            .try_into()
            .ok()
            .map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// To be put into a link.
    pub fn expose(&self) -> String {
        BASE64.encode(&self.0[..])
    }

    /// Seals what a link shows.
    pub fn seal(
        &self,
        id: ShareId,
        shared: &Shared,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        seal_json(&self.key(id), &Self::aad(id), shared, rng)
    }

    /// Opens what a link shows.
    pub fn open(&self, id: ShareId, sealed: &[u8]) -> Result<Shared, OpenError> {
        open_json(&self.key(id), &Self::aad(id), sealed)
    }

    fn key(&self, id: ShareId) -> Zeroizing<[u8; 32]> {
        derive_from(&self.0[..], &id.0, b"fsn v1 share")
    }

    fn aad(id: ShareId) -> Vec<u8> {
        [&b"fsn v1 share"[..], &id.0].concat()
    }
}

impl ZeroizeOnDrop for ShareSecret {}

impl fmt::Debug for ShareSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareSecret(..)")
    }
}

/// 01 ‖ nonce ‖ AES-256-GCM(JSON) ‖ tag.
pub(super) fn seal_json(
    key: &[u8; 32],
    aad: &[u8],
    body: &impl Serialize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, SealError> {
    let mut text = Zeroizing::new(serde_json::to_vec(body).map_err(|_| SealError::Library)?);
    let nonce = random_nonce(rng);
    let tag = Cipher::new(key)?.seal(&nonce, aad, &mut text)?;
    Ok([&[VERSION], &nonce[..], &text, &tag].concat())
}

pub(super) fn open_json<T: DeserializeOwned>(
    key: &[u8; 32],
    aad: &[u8],
    sealed: &[u8],
) -> Result<T, OpenError> {
    let (version, sealed) = sealed.split_first().ok_or(OpenError)?;
    if *version != VERSION || sealed.len() < SEALING_OVERHEAD {
        return Err(OpenError);
    }
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let cipher = Cipher::new(key).map_err(|_| OpenError)?;
    cipher.open_between(aad, &mut sealed)?;
    let end = sealed.len() - SEALING_OVERHEAD + NONCE_LEN;
    serde_json::from_slice(&sealed[NONCE_LEN..end]).map_err(|_| OpenError)
}

/// Bytes in base64url, as JSON has them.
pub(super) mod bytes {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use zeroize::Zeroizing;

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(bytes)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: From<[u8; 32]>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = Zeroizing::new(BASE64.decode(&*text).map_err(de::Error::custom)?);
        let bytes: [u8; 32] = bytes[..]
            .try_into()
            .map_err(|_| de::Error::custom("these are not 32 bytes"))?;
        Ok(bytes.into())
    }
}
