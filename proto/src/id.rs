//! Names of things: blobs, files, nodes, networks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text or bytes that are not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind}: {reason}")]
pub struct ParseIdError {
    pub kind: &'static str,
    pub reason: &'static str,
}

/// A newtype over 32 bytes that reads and writes itself as 64 lower-case hex digits.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError {
                    kind: $kind,
                    reason: "it must have 32 bytes",
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; 32];
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(ParseIdError {
                        kind: $kind,
                        reason: "hex digits must be lower-case",
                    });
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError {
                    kind: $kind,
                    reason: "it must be 64 hex digits",
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

hash_id! {
    /// Name of a blob: the BLAKE3 hash of its bytes, 64 lower-case hex digits in text.
    BlobId, "blob id"
}

hash_id! {
    /// Name of a network: the BLAKE3 hash of its public key's 32 bytes.
    NetworkId, "network id"
}

hash_id! {
    /// Random bytes that make a challenge unlike any other.
    ProofSeed, "proof seed"
}

hash_id! {
    /// What a challenge's walk over a blob ends in.
    ProofHash, "proof hash"
}

hash_id! {
    /// Digest of one question and its answer; what a node signs for each blob of a challenge.
    ItemDigest, "item digest"
}

hash_id! {
    /// BLAKE3 of a challenge's signed bytes.
    ChallengeHash, "challenge hash"
}

hash_id! {
    /// SHA-256 of a chunk's plaintext.
    ChunkSha256, "SHA-256"
}

impl BlobId {
    /// The name of `blob`.
    pub fn of(blob: &[u8]) -> Self {
        Self(*blake3::hash(blob).as_bytes())
    }

    /// The id behind this one in order; `None` behind the last.
    pub fn next(&self) -> Option<Self> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Some(Self(bytes));
            }
        }
        None
    }

    /// The id before this one in order; `None` before the first.
    pub fn previous(&self) -> Option<Self> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let borrowed = *byte == 0;
            *byte = byte.wrapping_sub(1);
            if !borrowed {
                return Some(Self(bytes));
            }
        }
        None
    }
}

/// A newtype over a UUID, sortable by creation time (version 7). For other crates' ids too, which
/// then need `serde` and `uuid` among their dependencies.
#[macro_export]
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(::uuid::Uuid);

        impl $name {
            pub const fn from_uuid(id: ::uuid::Uuid) -> Self {
                Self(id)
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(::uuid::Uuid::from_bytes(bytes))
            }

            pub const fn as_uuid(&self) -> ::uuid::Uuid {
                self.0
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = $crate::ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, $crate::ParseIdError> {
                ::uuid::Uuid::from_slice(bytes).map(Self).map_err(|_| $crate::ParseIdError {
                    kind: $kind,
                    reason: "it must have 16 bytes",
                })
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::ParseIdError;

            fn from_str(text: &str) -> Result<Self, $crate::ParseIdError> {
                ::uuid::Uuid::try_parse(text).map(Self).map_err(|_| $crate::ParseIdError {
                    kind: $kind,
                    reason: "it must be a UUID",
                })
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

uuid_id! {
    /// A file as a user knows it.
    FileId, "file id"
}

uuid_id! {
    /// One attempt to bring a file in.
    UploadId, "upload id"
}

uuid_id! {
    /// One challenge message.
    ChallengeId, "challenge id"
}

uuid_id! {
    /// A registered storage node.
    NodeId, "node id"
}

uuid_id! {
    /// One copy of a node's data directory, from one of its starts to the next. Random, and no secret.
    InstanceId, "instance number"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_named_by_the_blake3_hash_of_its_bytes() {
        assert_eq!(
            BlobId::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn text_that_is_not_an_id_is_refused_with_the_reason() {
        let upper = BlobId::of(b"").to_string().to_uppercase();
        assert_eq!(
            upper.parse::<BlobId>().unwrap_err().to_string(),
            "not a blob id: hex digits must be lower-case"
        );
        assert!("abc".parse::<BlobId>().is_err());
        assert!("abc".parse::<FileId>().is_err());
        assert!(NodeId::try_from(&[0u8; 15][..]).is_err());
    }
}
