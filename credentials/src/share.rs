//! What opens a share: the id in its link, and the token of somebody who has been let in.
//!
//! The id is the secret of a link. What is kept of it is its hash; a visitor is kept as a hash that cannot be computed
//! without the id, so that nobody tells from a table who has downloaded. A token needs no table: it is authenticated
//! with a key made of the id and of the password's hash, so that it ends when the password changes. Rejected: tokens
//! under a key of the coordinator's, which would outlive a changed password until they expire.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = ID_BYTES + 8 + TAG_BYTES;

/// The id of a share, as it stands in its link: 16 bytes in base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShareId([u8; ID_BYTES]);

/// It names no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share's id is 16 bytes in base64url, 22 characters")]
pub struct InvalidShareId;

/// What is kept of a share's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareHash(pub [u8; 32]);

impl fmt::Display for ShareHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl ShareId {
    /// Of 16 bytes of chance.
    pub const fn new(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// As they are wrapped.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// What it is found by.
    pub fn hash(&self) -> ShareHash {
        ShareHash(blake3::derive_key("fsn share v1", &self.0))
    }

    /// Somebody, told by a token or by an address, as he is remembered for a day.
    pub fn visitor(&self, who: Visitor) -> [u8; 32] {
        let key = blake3::derive_key("fsn share visitor v1", &self.0);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        match who {
            Visitor::Token(id) => hasher.update(b"t").update(&id),
            Visitor::Network(network) => hasher.update(b"n").update(&network),
        };
        *hasher.finalize().as_bytes()
    }

    fn tag(&self, password_hash: Option<&str>, told: &[u8]) -> [u8; TAG_BYTES] {
        let mut secret = self.0.to_vec();
        secret.extend_from_slice(password_hash.unwrap_or_default().as_bytes());
        let key = blake3::derive_key("fsn share token v1", &secret);
        let mac = blake3::keyed_hash(&key, told);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&mac.as_bytes()[..TAG_BYTES]);
        tag
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareId(…)")
    }
}

impl FromStr for ShareId {
    type Err = InvalidShareId;

    fn from_str(text: &str) -> Result<Self, InvalidShareId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(InvalidShareId)
    }
}

impl TryFrom<&[u8]> for ShareId {
    type Error = InvalidShareId;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidShareId> {
        bytes.try_into().map(Self).map_err(|_| InvalidShareId)
    }
}

/// Who is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// Whoever has this token.
    Token([u8; ID_BYTES]),
    /// Whoever comes from there: an IPv4 address, or a /64 of IPv6.
    Network([u8; 16]),
}

/// That somebody was let in: made when he comes, or has told the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Chance: nothing of the visitor.
    pub visitor: [u8; ID_BYTES],
    /// Until then.
    pub expires_at: Timestamp,
}

impl Token {
    /// As it is handed out, good for this share and this password.
    pub fn write(&self, share: &ShareId, password_hash: Option<&str>) -> String {
        let mut told = self.visitor.to_vec();
        told.extend_from_slice(&self.expires_at.as_second().to_be_bytes());
        let tag = share.tag(password_hash, &told);
        told.extend_from_slice(&tag);
        BASE64_URL_SAFE_NO_PAD.encode(told)
    }

    /// What somebody shows, if it is good for this share, this password and now.
    pub fn read(
        text: &str,
        share: &ShareId,
        password_hash: Option<&str>,
        now: Timestamp,
    ) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let (told, tag) = bytes.split_at(TOKEN_BYTES - TAG_BYTES);
        let expected = share.tag(password_hash, told);
        if !bool::from(expected[..].ct_eq(tag)) {
            return None;
        }
        let (visitor, expires) = told.split_at(ID_BYTES);
        let expires = i64::from_be_bytes(expires.try_into().ok()?);
        let token = Self {
            visitor: visitor.try_into().ok()?,
            expires_at: Timestamp::from_second(expires).ok()?,
        };
        (now < token.expires_at).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ShareId = ShareId::new([7; 16]);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_what_is_kept_of_it_stays_the_same() {
        assert_eq!(ID.to_string(), "BwcHBwcHBwcHBwcHBwcHBw");
        assert_eq!(ID.to_string().parse(), Ok(ID));
        assert_eq!(
            ID.hash().to_string(),
            hex::encode(blake3::derive_key("fsn share v1", &[7; 16]))
        );
        for wrong in ["", "BwcHBwcHBwcHBwcHBwcHB", "BwcHBwcHBwcHBwcHBwcHBw==", "ü"] {
            assert_eq!(wrong.parse::<ShareId>(), Err(InvalidShareId), "{wrong}");
        }
        assert!(!format!("{ID:?}").contains("Bwc"));
    }

    #[test]
    fn a_token_is_good_for_its_share_its_password_and_its_time_alone() {
        let token = Token {
            visitor: [1; 16],
            expires_at: at(1000),
        };
        let text = token.write(&ID, Some("hash"));
        let read = |text: &str, id, hash, now| Token::read(text, &id, hash, at(now));
        assert_eq!(read(&text, ID, Some("hash"), 999), Some(token));
        assert_eq!(read(&text, ID, Some("hash"), 1000), None);
        assert_eq!(read(&text, ID, Some("other"), 1), None);
        assert_eq!(read(&text, ID, None, 1), None);
        assert_eq!(read(&text, ShareId::new([8; 16]), Some("hash"), 1), None);
    }

    #[test]
    fn tokens_of_strangers_are_those_that_were_handed_out_or_none() {
        let token = Token {
            visitor: [1; 16],
            expires_at: at(1000),
        };
        let sound = token.write(&ID, None).into_bytes();
        let read = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            Token::read(text, &ID, None, at(1))
        };
        assert_eq!(read(&sound), Some(token));
        hostile::attack(
            env!("CARGO_MANIFEST_DIR"),
            "share_tokens",
            [sound],
            |bytes| {
                if let Some(read) = read(bytes) {
                    assert_eq!(read, token);
                }
            },
        );
    }

    #[test]
    fn visitors_are_told_apart_and_not_across_shares() {
        let one = ID.visitor(Visitor::Token([1; 16]));
        assert_ne!(one, ID.visitor(Visitor::Network([1; 16])));
        assert_ne!(one, ID.visitor(Visitor::Token([2; 16])));
        let other = ShareId::new([8; 16]);
        assert_ne!(one, other.visitor(Visitor::Token([1; 16])));
    }
}
