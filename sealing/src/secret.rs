//! Small secrets that a coordinator has to read again: wrapped under a key of their purpose and subject.
//!
//! Invariant: what was wrapped for one purpose and subject opens for no other, and under no other master key. Secrets that
//! need only be compared are hashed, and never come here.
//!
//! Rejected: the salt that wrapped data keys have. Purpose and subject in the info part them as well, and a new purpose
//! needs no place of its own in the salt.

use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::cipher::{Cipher, NONCE_LEN, SEALING_OVERHEAD, random_nonce};
use crate::derive::derive;
use crate::{MasterKey, OpenError, SealError};

/// What a wrapped secret is for: `purpose` is a few words, `subject` whose or which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretPlace<'a> {
    /// Like `access key`.
    pub purpose: &'a str,
    /// Like an access key's id.
    pub subject: &'a str,
}

impl SecretPlace<'_> {
    /// `fsn v1 ` ‖ purpose ‖ subject.
    fn info(self) -> Vec<u8> {
        [
            &b"fsn v1 "[..],
            self.purpose.as_bytes(),
            self.subject.as_bytes(),
        ]
        .concat()
    }
}

impl MasterKey {
    /// nonce\[12\] ‖ AES-256-GCM(secret) ‖ tag under HKDF-SHA256(master key, info = `fsn v1 ` ‖ purpose ‖ subject), AAD =
    /// master-key id.
    pub fn wrap_secret(
        &self,
        place: SecretPlace<'_>,
        secret: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        let cipher = self.secret_cipher(place)?;
        let nonce = random_nonce(rng);
        let mut wrapped = Vec::with_capacity(secret.len() + SEALING_OVERHEAD);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(secret);
        let tag = cipher.seal(&nonce, self.id().as_bytes(), &mut wrapped[NONCE_LEN..])?;
        wrapped.extend_from_slice(&tag);
        Ok(wrapped)
    }

    /// The secret that was wrapped for this place.
    pub fn unwrap_secret(
        &self,
        place: SecretPlace<'_>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let bytes = wrapped.len().checked_sub(SEALING_OVERHEAD);
        let bytes = bytes.ok_or(OpenError)?;
        let cipher = self.secret_cipher(place).map_err(|_| OpenError)?;
        let mut opened = Zeroizing::new(wrapped.to_vec());
        cipher.open_between(self.id().as_bytes(), &mut opened)?;
        Ok(Zeroizing::new(
            opened[NONCE_LEN..NONCE_LEN + bytes].to_vec(),
        ))
    }

    fn secret_cipher(&self, place: SecretPlace<'_>) -> Result<Cipher, SealError> {
        Cipher::new(&derive(self.bytes(), &[], &place.info()))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn master(id: &str) -> MasterKey {
        MasterKey::new(id.to_owned(), Zeroizing::new([9; 32])).unwrap()
    }

    const PLACE: SecretPlace<'_> = SecretPlace {
        purpose: "access key",
        subject: "FSNA",
    };

    #[test]
    fn a_secret_opens_only_in_its_place_and_under_its_master_key() {
        let mut rng = StdRng::seed_from_u64(7);
        let wrapped = master("m1").wrap_secret(PLACE, b"a secret", &mut rng);
        let wrapped = wrapped.unwrap();
        let opened = master("m1").unwrap_secret(PLACE, &wrapped).unwrap();
        assert_eq!(&opened[..], b"a secret");
        assert!(master("m2").unwrap_secret(PLACE, &wrapped).is_err());
        for (purpose, subject) in [("totp", "FSNA"), ("access key", "FSNB"), ("access key", "")] {
            let other = SecretPlace { purpose, subject };
            assert!(master("m1").unwrap_secret(other, &wrapped).is_err());
        }
    }

    #[test]
    fn what_is_cut_or_changed_does_not_open() {
        let mut rng = StdRng::seed_from_u64(7);
        let master = master("m1");
        let wrapped = master.wrap_secret(PLACE, b"a secret", &mut rng).unwrap();
        for length in 0..wrapped.len() {
            let opened = master.unwrap_secret(PLACE, &wrapped[..length]);
            assert!(opened.is_err(), "{length} bytes");
        }
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(master.unwrap_secret(PLACE, &changed).is_err(), "byte {at}");
        }
    }
}
