//! Uploads in steps that become an object: what they are to become is kept with the session from its first step on, and
//! written in the transaction of its last one.

use model::ids::{UploadId, UserId};
use model::objects::{Bucket, Described, NewObject};
use model::upload::{DeclaredDigests, UploadRequest};

use super::tables::upload_targets;
use super::{ObjectError, Objects, put};

/// What an upload in steps asks for that is to become a version of a key. The version is known by its own id.
pub fn request(
    objects: &Objects,
    bucket: &Bucket,
    described: Described,
    size_bytes: u64,
    idempotency_key: Option<String>,
) -> UploadRequest {
    let new = put::new_unsummed(objects, bucket, described);
    let declared = DeclaredDigests::default();
    UploadRequest {
        idempotency_key,
        ..put::request(bucket, new, Some(size_bytes), declared)
    }
}

/// What an upload becomes, or has become.
#[derive(Debug, Clone)]
pub struct Aim {
    pub bucket: String,
    pub object: NewObject,
}

/// `None`: it is a file by itself, or of a bucket that is gone.
pub async fn aim(
    objects: &Objects,
    user: UserId,
    upload: UploadId,
) -> Result<Option<Aim>, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let found = upload_targets::of_user(&mut connection, upload, user).await?;
    Ok(found.map(|(bucket, object)| Aim { bucket, object }))
}
