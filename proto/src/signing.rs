//! Ed25519 signatures and the keys that make them.

use std::fmt;
use std::str::FromStr;

use libp2p_identity::{Keypair, PeerId, PublicKey};

use crate::Malformed;

/// A signature that the named key did not make over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct InvalidSignature;

/// An Ed25519 signature: 64 bytes, hex in text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Signs with an Ed25519 identity, the only kind that this network makes or accepts.
    pub fn sign(keypair: &Keypair, message: &[u8]) -> Result<Self, Malformed> {
        keypair
            .sign(message)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(Malformed("only Ed25519 keys can sign"))
    }

    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Signature {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Malformed("a signature must have 64 bytes"))
    }
}

/// 128 hex digits, of either case.
impl FromStr for Signature {
    type Err = Malformed;

    fn from_str(hex_digits: &str) -> Result<Self, Malformed> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(hex_digits, &mut bytes)
            .map_err(|_| Malformed("a signature must have 128 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

/// An Ed25519 public key: 32 bytes, hex in text.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Malformed> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| Malformed("not an Ed25519 public key"))
    }

    /// The key of an Ed25519 peer, which its id contains.
    pub fn of_peer(peer_id: &PeerId) -> Result<Self, Malformed> {
        // Multihash code 0 (identity), 36 bytes: 08 01 12 20, then the key.
        let bytes = peer_id.to_bytes();
        let encoded = bytes
            .strip_prefix(&[0x00, 0x24])
            .ok_or(Malformed("the peer id is not that of an Ed25519 key"))?;
        let key = PublicKey::try_decode_protobuf(encoded)
            .map_err(|_| Malformed("the peer id holds no public key"))?;
        // The same key in another encoding would be a second name for the same peer.
        if key.to_peer_id() != *peer_id {
            return Err(Malformed("the peer id is not in its usual form"));
        }
        Self::of_public(key)
    }

    pub fn of_keypair(keypair: &Keypair) -> Result<Self, Malformed> {
        Self::of_public(keypair.public())
    }

    fn of_public(key: PublicKey) -> Result<Self, Malformed> {
        let key = key
            .try_into_ed25519()
            .map_err(|_| Malformed("not an Ed25519 key"))?;
        Self::from_bytes(&key.to_bytes())
    }

    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Strict: refuses keys and signatures of small order, under which any message would pass and
    /// whose owner could deny any statement.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| InvalidSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", hex::encode(self.to_bytes()))
    }
}

/// Bytes to be signed: a domain tag, then fields. What has no fixed length carries its length.
pub(crate) struct SignedBytes(Vec<u8>);

impl SignedBytes {
    pub(crate) fn new(tag: &'static str) -> Self {
        Self(tag.as_bytes().to_vec())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: usize) -> Self {
        self.raw(&(value as u32).to_le_bytes())
    }

    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        self.u32(bytes.len()).raw(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}
