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
use api::problem::ProblemKind;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use proto::FileId;
use sealing::end_to_end::content::sealed_len;
use sealing::end_to_end::{Commitments, DirectoryKey, Envelope};
use uuid::Uuid;

pub use self::list::Entry;
use self::put::STREAMED;
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
    /// A bucket that is there. One of [`crate::ClientConfig::sealed_buckets`] is that one, and sealed, or an error.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let ask = |session: Session| async move { Ok(session.bucket(name).await?) };
        let bucket = self.ask(ask).await?;
        self.check_known(name, &bucket)?;
        self.bucket_of(name, bucket)
    }

    /// A coordinator that may call a sealed bucket plain would be sent everything in the clear.
    fn check_known(&self, name: &str, bucket: &api::buckets::Bucket) -> Result<(), Error> {
        let known = self.core.sealed_buckets.get(name);
        let is_other = |id: &Uuid| bucket.bucket_id != *id || bucket.names != "sealed";
        match known.is_some_and(is_other) {
            true => Err(Error::OtherBucket(name.to_owned())),
            false => Ok(()),
        }
    }

    /// Makes a bucket, sealed or not; or takes the one that is there, if it is of that kind and this user's.
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
            Err(error) if error.kind() == Some(ProblemKind::BucketNameTaken) => {
                let ask = |session: Session| async move { Ok(session.bucket(name).await?) };
                self.ask(ask).await.map_err(|_| error)?
            }
            Err(error) => return Err(error),
        };
        let bucket = self.bucket_of(name, made)?;
        match bucket.is_sealed() == is_sealed {
            true => Ok(bucket),
            false => Err(Error::unusable(format!(
                "the bucket {name} is there, and is {}",
                if is_sealed { "not sealed" } else { "sealed" }
            ))),
        }
    }

    /// It has the name that was asked for, whatever is answered.
    fn bucket_of(&self, name: &str, bucket: api::buckets::Bucket) -> Result<Bucket, Error> {
        let id = *bucket.bucket_id.as_bytes();
        let vault = match (bucket.names.as_str(), &self.core.root) {
            ("plain", _) => None,
            ("sealed", Some(root)) => Some(root.vault(&id)),
            ("sealed", None) => return Err(Error::NoRoot),
            (names, _) => {
                return Err(Error::unusable(format!(
                    "names in {name} are {names}, which this version does not know: take a newer one"
                )));
            }
        };
        Ok(Bucket {
            client: self.clone(),
            name: name.to_owned(),
            id,
            vault,
        })
    }
}

impl Bucket {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same as long as the bucket lives.
    pub fn id(&self) -> Uuid {
        Uuid::from_bytes(self.id)
    }

    pub fn is_sealed(&self) -> bool {
        self.vault.is_some()
    }

    /// Deletes an object.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let stored = self.stored_key(key)?;
        let stored = &stored;
        let remove = |session: Session| async move {
            Ok(session.remove_object(&self.name, stored, None).await?)
        };
        self.client.ask(remove).await
    }

    /// Deletes an object if it is still the one with this ETag.
    async fn remove_this(&self, key: &str, etag: &str) -> Result<(), Error> {
        let stored = &self.stored_key(key)?;
        let remove = |session: Session| async move {
            Ok(session
                .remove_object(&self.name, stored, Some(etag))
                .await?)
        };
        match self.client.ask(remove).await {
            Err(error) if error.kind() == Some(ProblemKind::PreconditionFailed) => {
                match self.entry(key).await {
                    // This very request may have deleted it, and its answer was lost.
                    Err(gone) if gone.kind() == Some(ProblemKind::NotFound) => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    /// The stored files that an object's bytes are, in order: receipts and proofs are of these. And how many bytes that has
    /// to be together: by the envelope, where it knows, and else by the coordinator's word.
    pub async fn files_of(&self, key: &str) -> Result<(Vec<FileId>, u64), Error> {
        let (object, envelope) = self.entry(key).await?;
        let stored = match &envelope {
            Some(envelope) => sealed_size(envelope)?.unwrap_or(object.size_bytes),
            None => object.size_bytes,
        };
        let files = object.file_ids.ok_or_else(|| {
            Error::unusable("the coordinator is of a release that names no files of objects")
        })?;
        Ok((files, stored))
    }

    /// No bytes move. What had the other name is replaced. In a sealed bucket the new name is there before the old one is
    /// gone: the envelope opens under one name alone, and what is moved in one step stays as it is.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        if from == to {
            return self.head(from).await.map(|_| ());
        }
        if self.is_sealed() {
            let (body, etag) = self.copied(from, to).await?;
            let etag = etag.ok_or_else(|| {
                Error::unusable("the coordinator names no ETag of what is to be renamed")
            })?;
            self.copy_as(&body).await?;
            // What was stored under the name meanwhile is not what was copied, and stays.
            return self.remove_this(from, &etag).await;
        }
        let (body, _) = self.copied(from, to).await?;
        let body = &body;
        let rename = |session: Session| async move {
            session.move_object(&self.name, body).await?;
            Ok(())
        };
        self.client.ask(rename).await
    }

    /// No bytes move. What had the other name is replaced.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let (body, _) = self.copied(from, to).await?;
        self.copy_as(&body).await
    }

    async fn copy_as(&self, body: &CopyBody) -> Result<(), Error> {
        let copy = |session: Session| async move {
            session.copy_object(&self.name, body).await?;
            Ok(())
        };
        self.client.ask(copy).await
    }

    /// In a sealed bucket the envelope opens under the new name, and the bytes that are copied are those of the version that
    /// it lies beside, whose ETag is told.
    async fn copied(&self, from: &str, to: &str) -> Result<(CopyBody, Option<String>), Error> {
        let (key, new) = (self.stored_key(from)?, self.stored_key(to)?);
        let (version, envelope, etag) = match self.is_sealed() {
            false => (None, None, None),
            true => {
                let (object, envelope) = self.entry(from).await?;
                let envelope = envelope.ok_or(Error::WrongKey)?;
                let envelope = self.seal_envelope(to, &new, &envelope)?;
                (Some(object.version_id), Some(envelope), object.etag)
            }
        };
        let to = ObjectTarget {
            key: new,
            envelope,
            ..ObjectTarget::default()
        };
        Ok((CopyBody { key, version, to }, etag))
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

/// Bytes that are stored of a content in one part; `None`: its envelope does not know.
fn sealed_size(envelope: &Envelope) -> Result<Option<u64>, Error> {
    let is_known = !envelope.meta.contains_key(STREAMED);
    match &envelope.commit {
        Commitments::One(_) if is_known => sealed_len(envelope.size)
            .map(Some)
            .ok_or(Error::WrongContent),
        Commitments::One(_) | Commitments::Each(_) => Ok(None),
    }
}
