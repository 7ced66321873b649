//! Access keys: an id that may be known, and a secret that is shown once and kept as a hash.
//!
//! Invariants: id and secret come of 32 bytes of chance by one-way functions, so that neither tells anything of the other
//! or of the seed. A secret has no `Debug` and is wiped; hashes are compared in constant time.
//!
//! Rejected: a slow hash. The secret has 256 bits of chance, and every request shows it. And one text in place of two: the
//! protocols that keys are for (Basic, SigV4) know a name and a secret.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ipnet::IpNet;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Clients leave the padding out, some of them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const ID_PREFIX: &[u8; 3] = b"FSN";
const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_PREFIX: &str = "fsnk_";

/// Longer than any id with its secret.
const LONGEST_SHOWN: usize = 1024;

/// Entries of a list of allowed addresses.
const MOST_ADDRESSES: usize = 32;

/// Which key: `FSN` and 17 letters and digits, as programs for S3 expect it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId([u8; Self::LEN]);

impl AccessKeyId {
    /// Letters and digits.
    pub const LEN: usize = 20;

    /// As it is written.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // ASCII by its making
    }
}

/// Text that is no id of an access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an access key's id, which is FSN and 17 letters and digits")]
pub struct NotAnId;

impl FromStr for AccessKeyId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| NotAnId)?;
        let letters = bytes.strip_prefix(ID_PREFIX).ok_or(NotAnId)?;
        let sound = letters.iter().all(|letter| ID_LETTERS.contains(letter));
        sound.then_some(Self(bytes)).ok_or(NotAnId)
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeyId({self})")
    }
}

/// What whoever uses a key has to know. `fsnk_` and 64 hex digits when it was made here.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// One that was shown, or unwrapped.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// To be shown to whoever makes the key, to be wrapped, and to check signatures with.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept.
    pub fn hash(&self) -> SecretHash {
        SecretHash(blake3::derive_key("fsn access key v1", self.0.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A hash that tells whether a secret is the one.
#[derive(Debug, Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// As it was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In constant time.
    pub fn matches(&self, secret: &Secret) -> bool {
        self.0.ct_eq(&secret.hash().0).into()
    }
}

/// A key as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its name.
    pub id: AccessKeyId,
    /// What is shown this once.
    pub secret: Secret,
}

impl AccessKey {
    /// The key that these bytes of chance stand for.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let chance = blake3::derive_key("fsn access key id v1", seed);
        let mut id = [0; AccessKeyId::LEN];
        let (prefix, letters) = id.split_at_mut(ID_PREFIX.len());
        prefix.copy_from_slice(ID_PREFIX);
        for (letter, byte) in letters.iter_mut().zip(chance) {
            *letter = ID_LETTERS[usize::from(byte % 32)];
        }
        let secret = Zeroizing::new(blake3::derive_key("fsn access key secret v1", seed));
        let hex = Zeroizing::new(hex::encode(&secret[..]));
        Self {
            id: AccessKeyId(id),
            secret: Secret(Zeroizing::new(format!("{SECRET_PREFIX}{}", hex.as_str()))),
        }
    }
}

/// The seed of a key that is made again when the answer was lost: always the same for who asked, what he calls the
/// request, and what stands in the key's row. Nobody makes it without `key`.
pub fn seed(
    key: &[u8; 32],
    user: Uuid,
    idempotency: Option<&str>,
    salt: &[u8; 16],
) -> Zeroizing<[u8; 32]> {
    let key = Zeroizing::new(blake3::derive_key("fsn access key seed v1", key));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(salt).update(user.as_bytes());
    if let Some(idempotency) = idempotency {
        hasher.update(idempotency.as_bytes());
    }
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// A key as a request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Which key it is to be.
    pub id: AccessKeyId,
    /// What is said to be its secret.
    pub secret: Secret,
}

/// What was shown is not a key, whatever else it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access key is shown as its id, a colon and its secret, in base64")]
pub struct NotAKey;

impl Presented {
    /// Of `Authorization: Basic`, behind that word.
    pub fn basic(credentials: &str) -> Result<Self, NotAKey> {
        if credentials.len() > LONGEST_SHOWN {
            return Err(NotAKey);
        }
        let decoded = BASE64.decode(credentials.trim()).map_err(|_| NotAKey)?;
        let decoded = Zeroizing::new(decoded);
        let text = std::str::from_utf8(&decoded).map_err(|_| NotAKey)?;
        let (id, secret) = text.split_once(':').ok_or(NotAKey)?;
        Self::of(id, secret)
    }

    /// Of `Authorization: Bearer`, behind that word, if it is a key: id, a dot, and the secret.
    pub fn bearer(token: &str) -> Option<Self> {
        if token.len() > LONGEST_SHOWN {
            return None;
        }
        let (id, secret) = token.split_once('.')?;
        Self::of(id, secret).ok()
    }

    fn of(id: &str, secret: &str) -> Result<Self, NotAKey> {
        Ok(Self {
            id: id.parse().map_err(|_| NotAKey)?,
            secret: Secret(Zeroizing::new(secret.to_owned())),
        })
    }
}

/// From where a key may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAddresses(Vec<IpNet>);

/// A list that says nothing sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressesError {
    /// One that cannot be read.
    #[error("`{0}` is neither an address nor a network like 203.0.113.0/24")]
    NotANetwork(String),
    /// More than anybody needs.
    #[error("a key may have at most {MOST_ADDRESSES} addresses and networks")]
    TooMany,
}

impl AllowedAddresses {
    /// Addresses and networks. None of them: from everywhere.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, AddressesError> {
        if texts.len() > MOST_ADDRESSES {
            return Err(AddressesError::TooMany);
        }
        let network = |text: &T| {
            let text = text.as_ref();
            let network = text.parse::<IpNet>().map(|network| network.trunc());
            let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| AddressesError::NotANetwork(text.chars().take(64).collect()))
        };
        texts
            .iter()
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a request from there may use the key.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&address))
    }

    /// As they are told: an address without the length of its network.
    pub fn texts(&self) -> Vec<String> {
        let texts =
            self.0.iter().map(
                |network| match network.prefix_len() == network.max_prefix_len() {
                    true => network.addr().to_string(),
                    false => network.to_string(),
                },
            );
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made() -> AccessKey {
        AccessKey::from_seed(&[1; 32])
    }

    fn basic(text: &str) -> Result<Presented, NotAKey> {
        Presented::basic(&BASE64.encode(text))
    }

    #[test]
    fn keys_stay_as_they_are_made() {
        let key = made();
        assert_eq!(key.id.as_str().parse(), Ok(key.id));
        assert_eq!(key.secret.expose().len(), 69);
        assert!(key.secret.expose().starts_with("fsnk_"));
        assert_eq!(key, made());
        let other = AccessKey::from_seed(&[2; 32]);
        assert_ne!(key.id, other.id);
        assert!(!key.secret.hash().matches(&other.secret));
    }

    #[test]
    fn a_seed_is_another_for_each_of_what_it_is_made_of() {
        let (user, salt) = (Uuid::from_u128(1), [0; 16]);
        let seed_of_first = seed(&[1; 32], user, Some("a"), &salt);
        assert_eq!(seed_of_first, seed(&[1; 32], user, Some("a"), &salt));
        for other in [
            seed(&[2; 32], user, Some("a"), &salt),
            seed(&[1; 32], Uuid::from_u128(2), Some("a"), &salt),
            seed(&[1; 32], user, Some("b"), &salt),
            seed(&[1; 32], user, None, &salt),
            seed(&[1; 32], user, Some("a"), &[1; 16]),
        ] {
            assert_ne!(seed_of_first, other);
        }
    }

    #[test]
    fn what_is_shown_is_the_key_in_either_form() {
        let key = made();
        let shown = format!("{}:{}", key.id, key.secret.expose());
        let presented = basic(&shown).unwrap();
        assert_eq!(
            (presented.id, presented.secret),
            (key.id, key.secret.clone())
        );
        let unpadded = BASE64.encode(&shown).trim_end_matches('=').to_owned();
        assert!(Presented::basic(&unpadded).is_ok());
        let token = format!("{}.{}", key.id, key.secret.expose());
        assert_eq!(
            Presented::bearer(&token).map(|shown| shown.id),
            Some(key.id)
        );
    }

    #[test]
    fn what_is_no_key_is_told_from_one() {
        assert_eq!(Presented::basic("%%%"), Err(NotAKey));
        let id = made().id;
        for text in ["", ":", "user:password", "FSNABC:secret", id.as_str()] {
            assert_eq!(basic(text), Err(NotAKey), "{text:?}");
        }
        assert!(
            basic(&format!("{id}:")).is_ok(),
            "an empty secret is just a wrong one"
        );
        assert_eq!(basic(&format!("{id}:{}", "x".repeat(2000))), Err(NotAKey));
        for token in ["eyJ.eyJ.sig", "", id.as_str(), "FSN.x"] {
            assert_eq!(Presented::bearer(token), None, "{token:?}");
        }
    }

    #[test]
    fn secrets_are_in_no_debug_text() {
        let text = format!("{:?}", made());
        assert!(!text.contains("fsnk_"), "{text}");
    }

    #[test]
    fn a_key_may_be_used_from_where_it_says_and_from_nowhere_else() {
        let allowed = AllowedAddresses::parse(&["203.0.113.9/24", "2001:db8::/32", "198.51.100.1"]);
        let allowed = allowed.unwrap();
        let is_allowed = |address: &str| allowed.allow(address.parse().unwrap());
        for address in [
            "203.0.113.1",
            "::ffff:203.0.113.1",
            "2001:db8:1::1",
            "198.51.100.1",
        ] {
            assert!(is_allowed(address), "{address}");
        }
        for address in ["203.0.114.1", "2001:db9::1", "198.51.100.2", "::1"] {
            assert!(!is_allowed(address), "{address}");
        }
        assert_eq!(
            allowed.texts(),
            ["203.0.113.0/24", "2001:db8::/32", "198.51.100.1"]
        );
        assert!(AllowedAddresses::default().allow("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = AllowedAddresses::parse(&["10.0.0.0/8", "home"]).unwrap_err();
        assert_eq!(error, AddressesError::NotANetwork("home".to_owned()));
        let many = vec!["10.0.0.1"; 33];
        assert_eq!(AllowedAddresses::parse(&many), Err(AddressesError::TooMany));
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_read_or_refused(text: String) {
            let _ = Presented::basic(&text);
            let _ = Presented::bearer(&text);
            let _ = text.parse::<AccessKeyId>();
            let _ = AllowedAddresses::parse(&[text]);
        }
    }
}
