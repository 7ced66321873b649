//! Deleting: a key, whose versions stay where the bucket keeps them; or a version, for good.

use limits::memory::Holder;
use model::names::ObjectKey;
use model::objects::{
    Bucket, Deleted, Described, ObjectContent, TargetRefusal, VersionRef, Versioning,
    WriteCondition, key_lock,
};

use super::put::put_without_bytes;
use super::{ObjectError, Objects, release, tables};
use crate::files::tables::files;
use crate::files::upload::UploadError;

/// Deletes a key: where versions are kept they stay behind a marker, which is billed as a small object is.
pub async fn key(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    key: &ObjectKey,
    condition: WriteCondition,
) -> Result<Deleted, ObjectError> {
    if bucket.versioning == Versioning::Off {
        return version(objects, bucket, key, VersionRef::Null, &condition).await;
    }
    let described = Described {
        condition,
        ..Described::plain(key.clone())
    };
    let marker = ObjectContent::Marker;
    let version = put_without_bytes(objects, holder, bucket, described, marker).await?;
    Ok(Deleted::Marked(version))
}

/// Deletes a version for good. If it was the latest, the one before it is.
pub async fn version(
    objects: &Objects,
    bucket: &Bucket,
    key: &ObjectKey,
    which: VersionRef,
    condition: &WriteCondition,
) -> Result<Deleted, ObjectError> {
    let key = key.as_str();
    let mut transaction = objects.db.begin().await?;
    let lock = key_lock(bucket.id, key);
    tables::locks::lock_keys(&mut transaction, vec![lock]).await?;
    if tables::buckets::share(&mut transaction, &[bucket.id])
        .await?
        .is_empty()
    {
        return Err(ObjectError::NoSuchBucket);
    }
    let found = tables::versions::find(&mut transaction, bucket.id, key, which).await?;
    let etag = found.as_ref().filter(|found| !found.is_marker);
    if !condition.holds(etag.map(|found| found.etag.as_str())) {
        return Err(UploadError::from(TargetRefusal::ConditionFailed).into());
    }
    let Some(found) = found else {
        return Ok(Deleted::Nothing);
    };
    let held = tables::parts::files_of(&mut transaction, &[found.id]).await?;
    files::lock_parts(&mut transaction, &held).await?;
    tables::versions::delete(&mut transaction, &[found.id]).await?;
    if found.is_latest {
        tables::versions::promote_newest(&mut transaction, bucket.id, key).await?;
    }
    release::end_unnamed(&mut transaction, &objects.entropy, &held).await?;
    let seq = tables::buckets::advance(&mut transaction, bucket.id, 1).await?;
    tables::changes::note_removed(&mut transaction, bucket.id, seq, key, found.id).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(Deleted::Version(Box::new(found)))
}
