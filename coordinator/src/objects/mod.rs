//! Objects: buckets, and in each of them keys that point to stored bytes. A key is overwritten, copied, deleted and brought
//! back in one transaction, and no bytes move.

pub mod bucket_rules;
pub mod buckets;
pub mod changes;
pub mod copy;
pub mod delete;
pub mod ending;
pub mod expiry;
pub mod get;
pub mod jobs;
pub mod listing;
pub mod moving;
pub mod multipart;
pub mod pointing;
pub mod put;
mod release;
pub mod stepwise;
pub mod tables;
pub mod take_down;

use std::sync::Arc;

use kit::{Clock, Entropy};
use model::ids::{UserId, VersionId, uuid_v7};
use model::objects::{Bucket, ObjectVersion};
use uuid::Uuid;

use crate::billing::charges::ChargeError;
use crate::config::ObjectsConfig;
use crate::database::Pool;
use crate::files::Files;
use crate::files::download::DownloadError;
use crate::files::upload::UploadError;

/// What objects work with.
pub struct Objects {
    pub db: Pool,
    pub files: Arc<Files>,
    pub config: ObjectsConfig,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Objects {
    fn new_version(&self) -> VersionId {
        VersionId::from_uuid(self.new_id())
    }

    fn new_id(&self) -> Uuid {
        uuid_v7(self.clock.now(), &mut self.entropy.rng())
    }

    /// The bucket of this name, if it is this user's.
    pub async fn bucket(&self, user: UserId, name: &str) -> Result<Bucket, ObjectError> {
        let mut connection = self.db.acquire().await?;
        let bucket = tables::buckets::by_name(&mut connection, name).await?;
        let bucket = bucket.ok_or(ObjectError::NoSuchBucket)?;
        match bucket.owner == user {
            true => Ok(bucket),
            false => Err(ObjectError::NotYours),
        }
    }
}

/// Why something could not be done with a bucket or an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("there is no such bucket")]
    NoSuchBucket,
    #[error("the bucket is somebody else's")]
    NotYours,
    #[error("somebody else has a bucket of this name")]
    NameTaken,
    #[error("the account has a bucket of this name already")]
    NameYours,
    #[error("a bucket of this name was deleted lately, and only its owner may take it again yet")]
    NameRests,
    #[error("an account may have at most {limit} buckets")]
    TooManyBuckets { limit: u32 },
    #[error(
        "the bucket is not empty: versions, delete markers or unfinished uploads in parts are in it"
    )]
    NotEmpty,
    #[error("there is no such key")]
    NoSuchKey,
    #[error("there is no such version of the key")]
    NoSuchVersion,
    #[error("the key was deleted")]
    Deleted(Box<ObjectVersion>),
    #[error("there is no such upload in parts")]
    NoSuchMultipart,
    #[error("a bucket may have at most {limit} uploads in parts under way")]
    TooManyMultiparts { limit: i64 },
    #[error("changes are kept for 90 days, and those behind this place are gone")]
    ChangesGone,
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Charge(#[from] ChargeError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
