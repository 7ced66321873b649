//! Names, sealed so that the same name in the same directory looks the same and nothing else about it does: whoever has
//! the key finds a file without a list, and a coordinator can list what lies in a directory.

use std::fmt;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Envelope;
use crate::derive::{derive, derive_long};
use crate::{OpenError, SealError};

/// A sealed name has so many bytes at most.
pub const MAX_SEALED_NAME: usize = 2048;

/// Components are padded to a multiple of this.
const BLOCK: usize = 16;

/// Opens a directory and all below it.
#[derive(Clone)]
pub struct DirectoryKey(Zeroizing<[u8; 32]>);

impl DirectoryKey {
    /// One that was kept, or given by somebody else.
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// To be kept, or given to somebody else.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of a directory in this one.
    pub fn directory(&self, name: &str) -> Self {
        Self(derive(
            &self.0,
            &[],
            &[b"fsn v1 dir", name.as_bytes()].concat(),
        ))
    }

    /// The key of the directory in which a file of this name lies.
    pub fn directory_of(&self, path: &str) -> Self {
        let Some((directories, _)) = path.rsplit_once('/') else {
            return self.clone();
        };
        let below = directories.split('/');
        below.fold(self.clone(), |key, name| key.directory(name))
    }

    /// Seals a name, with the directories in which it lies. An error says that it is too long.
    pub fn seal_name(&self, path: &str) -> Result<String, SealError> {
        let mut sealed = String::new();
        self.each(path, |key, component, is_last| {
            sealed.push_str(&key.seal_component(component)?);
            if !is_last {
                sealed.push('/');
            }
            Ok::<_, SealError>(key.directory(component))
        })?;
        match sealed.len() <= MAX_SEALED_NAME {
            true => Ok(sealed),
            false => Err(SealError::TooLong { bytes: path.len() }),
        }
    }

    /// Opens a name.
    pub fn open_name(&self, sealed: &str) -> Result<String, OpenError> {
        let mut path = String::new();
        self.each(sealed, |key, component, is_last| {
            let component = key.open_component(component)?;
            path.push_str(&component);
            if !is_last {
                path.push('/');
            }
            Ok::<_, OpenError>(key.directory(&component))
        })?;
        Ok(path)
    }

    /// Goes down a path: `visit` gets each component with its directory's key and whether it is the last, and returns
    /// the key of the directory of that name.
    fn each<E>(
        &self,
        path: &str,
        mut visit: impl FnMut(&Self, &str, bool) -> Result<Self, E>,
    ) -> Result<(), E> {
        let mut key = self.clone();
        let mut components = path.split('/').peekable();
        while let Some(component) = components.next() {
            key = visit(&key, component, components.peek().is_none())?;
        }
        Ok(())
    }

    fn names(&self) -> Aes256Siv {
        let key: Zeroizing<[u8; 64]> = derive_long(&self.0, b"fsn v1 names");
        Aes256Siv::new((&*key).into())
    }

    fn seal_component(&self, component: &str) -> Result<String, SealError> {
        let mut text = Zeroizing::new(component.as_bytes().to_vec());
        text.push(0x80);
        let padded = text.len().next_multiple_of(BLOCK);
        text.resize(padded, 0);
        let sealed = self.names().encrypt([] as [&[u8]; 0], &text);
        Ok(BASE64.encode(sealed.map_err(|_| SealError::Library)?))
    }

    fn open_component(&self, sealed: &str) -> Result<String, OpenError> {
        let sealed = BASE64.decode(sealed).map_err(|_| OpenError)?;
        let text = self.names().decrypt([] as [&[u8]; 0], &sealed);
        let mut text = text.map_err(|_| OpenError)?;
        let end = text.iter().rposition(|byte| *byte != 0).ok_or(OpenError)?;
        if text[end] != 0x80 || text.len() - end > BLOCK {
            return Err(OpenError);
        }
        text.truncate(end);
        String::from_utf8(text).map_err(|_| OpenError)
    }

    /// Seals what is known of a file in this directory, for this place and no other.
    pub fn seal_envelope(
        &self,
        place: (&[u8; 16], &str),
        envelope: &Envelope,
        rng: &mut impl rand::CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        envelope.seal(&self.envelopes(), &Self::envelope_aad(place), rng)
    }

    /// Opens the envelope of the file with this sealed name in this bucket.
    pub fn open_envelope(
        &self,
        place: (&[u8; 16], &str),
        sealed: &[u8],
    ) -> Result<Envelope, OpenError> {
        Envelope::open(&self.envelopes(), &Self::envelope_aad(place), sealed)
    }

    fn envelopes(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.0, &[], b"fsn v1 envelope")
    }

    fn envelope_aad((bucket_id, sealed_name): (&[u8; 16], &str)) -> Vec<u8> {
        [&b"fsn v1 envelope"[..], bucket_id, sealed_name.as_bytes()].concat()
    }
}

impl ZeroizeOnDrop for DirectoryKey {}

impl fmt::Debug for DirectoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryKey(..)")
    }
}
