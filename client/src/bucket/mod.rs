//! Objects by name: what is sealed are their bytes, their names, and what is known of them.
//!
//! A bucket is sealed or it is not, from the day on that it was made. In a sealed one a key's components are sealed under
//! keys of their directories, so that the coordinator lists directories and learns no name; beside each object lies an
//! envelope with its key, which opens under its own name alone. In a plain one everything is as other programs, like those
//! for S3, see it.
//!
//! Rejected: sealing single objects of a bucket. Whoever lists it could not tell a name from a sealed name.

mod list;
mod put;
mod read;

use api::buckets::{CopyBody, NewBucket, Object, ObjectTarget};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use proto::FileId;
use sealing::end_to_end::{DirectoryKey, Envelope};

pub use self::list::Entry;
pub use self::put::{Input, PutOptions};
pub use self::read::Reader;
use crate::rest::Session;
use crate::{Client, Error};

/// A bucket of this client's user.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
    id: [u8; 16],
    /// Of a sealed one.
    vault: Option<DirectoryKey>,
}

impl Client {
    /// A bucket that is there.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let ask = |session: Session| async move { Ok(session.bucket(name).await?) };
        self.bucket_of(self.ask(ask).await?)
    }

    /// Makes a bucket, sealed unless told; or takes the one that is there, if it is of that kind and this user's.
    pub async fn make_bucket(&self, name: &str, is_sealed: bool) -> Result<Bucket, Error> {
        if is_sealed && self.core.root.is_none() {
            return Err(Error::NoRoot);
        }
        let body = NewBucket {
            name: name.to_owned(),
            versioning: None,
            names: is_sealed.then(|| "sealed".to_owned()),
        };
        let body = &body;
        let make = |session: Session| async move { Ok(session.create_bucket(body).await?) };
        let made = match self.ask(make).await {
            Ok(made) => made,
            // It may be this very request that has made it, and whose answer was lost.
            Err(error) if error.kind() == Some(api::problem::ProblemKind::BucketNameTaken) => {
                let ask = |session: Session| async move { Ok(session.bucket(name).await?) };
                self.ask(ask).await.map_err(|_| error)?
            }
            Err(error) => return Err(error),
        };
        let bucket = self.bucket_of(made)?;
        match bucket.is_sealed() == is_sealed {
            true => Ok(bucket),
            false => Err(Error::unusable(format!(
                "the bucket {name} is there, and is {}",
                if is_sealed { "not sealed" } else { "sealed" }
            ))),
        }
    }

    fn bucket_of(&self, bucket: api::buckets::Bucket) -> Result<Bucket, Error> {
        let id = *bucket.bucket_id.as_bytes();
        let vault = match (bucket.names.as_str(), &self.core.root) {
            ("plain", _) => None,
            ("sealed", Some(root)) => Some(root.vault(&id)),
            ("sealed", None) => return Err(Error::NoRoot),
            (names, _) => {
                return Err(Error::unusable(format!(
                    "names in {} are {names}, which this version does not know: take a newer one",
                    bucket.name
                )));
            }
        };
        Ok(Bucket {
            client: self.clone(),
            name: bucket.name,
            id,
            vault,
        })
    }
}

impl Bucket {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_sealed(&self) -> bool {
        self.vault.is_some()
    }

    /// Deletes an object.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let stored = self.stored_key(key)?;
        let stored = &stored;
        let remove =
            |session: Session| async move { Ok(session.remove_object(&self.name, stored).await?) };
        self.client.ask(remove).await
    }

    /// The stored files that an object's bytes are, in order: receipts and proofs are of these.
    pub async fn files_of(&self, key: &str) -> Result<Vec<FileId>, Error> {
        let (object, _) = self.entry(key).await?;
        object.file_ids.ok_or_else(|| {
            Error::unusable("the coordinator is of a release that names no files of objects")
        })
    }

    /// No bytes move. What had the other name is replaced. In a sealed bucket the new name is there before the old one is
    /// gone: the envelope opens under one name alone, and what is moved in one step stays as it is.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        if from == to {
            return self.head(from).await.map(|_| ());
        }
        if self.is_sealed() {
            self.copy(from, to).await?;
            return self.remove(from).await;
        }
        let body = self.copied(from, to).await?;
        let body = &body;
        let rename = |session: Session| async move {
            session.move_object(&self.name, body).await?;
            Ok(())
        };
        self.client.ask(rename).await
    }

    /// No bytes move. What had the other name is replaced.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let body = self.copied(from, to).await?;
        let body = &body;
        let copy = |session: Session| async move {
            session.copy_object(&self.name, body).await?;
            Ok(())
        };
        self.client.ask(copy).await
    }

    /// The envelope opens under the new name, too.
    async fn copied(&self, from: &str, to: &str) -> Result<CopyBody, Error> {
        let (key, new) = (self.stored_key(from)?, self.stored_key(to)?);
        let envelope = match &self.vault {
            None => None,
            Some(_) => {
                let (_, envelope) = self.entry(from).await?;
                let envelope = envelope.ok_or(Error::WrongKey)?;
                Some(self.seal_envelope(to, &new, &envelope)?)
            }
        };
        Ok(CopyBody {
            key,
            version: None,
            to: ObjectTarget {
                key: new,
                envelope,
                ..ObjectTarget::default()
            },
        })
    }

    /// As the coordinator knows it.
    fn stored_key(&self, key: &str) -> Result<String, Error> {
        if key.is_empty() || key.contains('\0') {
            return Err(Error::unusable(
                "an object's name is not empty, and has no NUL in it",
            ));
        }
        match &self.vault {
            None => Ok(key.to_owned()),
            Some(vault) => vault
                .seal_name(key)
                .map_err(|_| Error::unusable(format!("the name {key} is too long to be sealed"))),
        }
    }

    fn seal_envelope(&self, key: &str, stored: &str, envelope: &Envelope) -> Result<String, Error> {
        let vault = self.vault.as_ref().ok_or(Error::NoRoot)?;
        let directory = vault.directory_of(key);
        let mut rng = self.client.core.entropy.rng();
        let sealed = directory.seal_envelope((&self.id, stored), envelope, &mut rng)?;
        Ok(BASE64.encode(sealed))
    }

    /// What is known of an object, and its envelope where the bucket is sealed.
    async fn entry(&self, key: &str) -> Result<(Object, Option<Envelope>), Error> {
        let stored = self.stored_key(key)?;
        let asked = &stored;
        let ask =
            |session: Session| async move { Ok(session.object_entry(&self.name, asked).await?) };
        let object = self.client.ask(ask).await?;
        let Some(vault) = &self.vault else {
            return Ok((object, None));
        };
        let sealed = object.envelope.as_deref().unwrap_or_default();
        let sealed = BASE64.decode(sealed).map_err(|_| Error::WrongKey)?;
        let directory = vault.directory_of(key);
        let envelope = directory.open_envelope((&self.id, &stored), &sealed);
        Ok((object, Some(envelope.map_err(|_| Error::WrongKey)?)))
    }
}
