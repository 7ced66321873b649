//! Copying: another key points to the same stored bytes. What is copied costs no more than a small object does, as long
//! as both are in one account.

use limits::memory::Holder;
use model::ids::VersionId;
use model::names::{ContentType, ObjectKey};
use model::objects::{Bucket, ContentSum, Described, ObjectContent, ObjectVersion, TargetRefusal};

use super::put::put_without_bytes;
use super::{ObjectError, Objects, get, tables};
use crate::files::upload::UploadError;

/// What is said of a version, said of a key.
pub async fn described(
    objects: &Objects,
    source: &ObjectVersion,
    key: ObjectKey,
) -> Result<Described, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let mut envelopes = tables::versions::envelopes(&mut connection, &[source.id]).await?;
    let content_type = ContentType::try_from(source.content_type.clone());
    Ok(Described {
        content_type: content_type.unwrap_or_else(|_| ContentType::octet_stream()),
        metadata: source.metadata.clone(),
        envelope: envelopes.remove(&source.id),
        expires_at: source.expires_at,
        ..Described::plain(key)
    })
}

/// Has a key of `bucket` point to the bytes of `source`, which is the same owner's.
pub async fn copy(
    objects: &Objects,
    holder: Holder,
    source: &ObjectVersion,
    bucket: &Bucket,
    described: Described,
) -> Result<VersionId, ObjectError> {
    let content = ObjectContent::Parts {
        parts: get::parts(objects, source).await?,
        sum: ContentSum {
            etag: source.etag.clone(),
            checksum: source.checksum.clone(),
        },
        multipart: None,
    };
    let written = put_without_bytes(objects, holder, bucket, described, content).await;
    written.map_err(|error| match error {
        ObjectError::Upload(UploadError::Refused(TargetRefusal::SourceGone)) => {
            ObjectError::NoSuchKey // overwritten meanwhile
        }
        error => error,
    })
}
