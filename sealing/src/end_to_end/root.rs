//! The secret from which all others of a user come.

use std::fmt;

use bip39::Mnemonic;
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::DirectoryKey;
use crate::derive::derive;

/// 32 random bytes; as 24 words of BIP-39's English list on paper. The words say the bytes themselves, and no passphrase
/// or stretching comes between.
#[derive(Clone)]
pub struct Root(Zeroizing<[u8; 32]>);

/// Words that are no recovery phrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPhrase {
    /// One is missing, or too many.
    #[error("a recovery phrase has 24 words, and these are {0}")]
    Count(usize),
    /// Not in the list.
    #[error(
        "word {number} of the phrase is not in the list of words; look for a letter that is wrong"
    )]
    Word {
        /// Counted from 1.
        number: usize,
    },
    /// Each is in the list.
    #[error("the words do not belong together: one is wrong, or two stand in the wrong order")]
    Checksum,
}

impl Root {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        Self(bytes)
    }

    /// One that was kept.
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 24 words, with spaces between.
    pub fn phrase(&self) -> Zeroizing<String> {
        // 32 bytes are one of the lengths that a phrase can have.
        let phrase = Mnemonic::from_entropy(&self.0[..]);
        Zeroizing::new(phrase.map(|phrase| phrase.to_string()).unwrap_or_default())
    }

    /// Of 24 words, whatever their case and the space between them.
    pub fn from_phrase(phrase: &str) -> Result<Self, NotAPhrase> {
        let words: Vec<String> = phrase.split_whitespace().map(str::to_lowercase).collect();
        if words.len() != 24 {
            return Err(NotAPhrase::Count(words.len()));
        }
        let phrase = Mnemonic::parse_normalized(&words.join(" ")).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => NotAPhrase::Word { number: index + 1 },
            _ => NotAPhrase::Checksum,
        })?;
        let (entropy, length) = phrase.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        let bytes: [u8; 32] = entropy[..length]
            .try_into()
            .map_err(|_| NotAPhrase::Checksum)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The seed of the account's Ed25519 key.
    pub fn account_seed(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.0, &[], b"fsn v1 account ed25519")
    }

    /// The secret of the account's X25519 key, for what others send it.
    pub fn sharing_secret(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.0, &[], b"fsn v1 share x25519")
    }

    /// The key of a bucket's topmost directory.
    pub fn vault(&self, bucket_id: &[u8; 16]) -> DirectoryKey {
        DirectoryKey::from_bytes(derive(&self.0, bucket_id, b"fsn v1 vault"))
    }
}

impl ZeroizeOnDrop for Root {}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(..)")
    }
}
