//! What is not paid for any longer, and what was begun and left: it ends, and with a file whatever it is part of.

use std::net::Ipv4Addr;

use limits::memory::Holder;
use model::names::ObjectKey;
use model::objects::{Bucket, ObjectVersion, VersionRef, Versioning, WriteCondition};

use super::{ObjectError, Objects, delete, ending, release, tables};
use crate::billing::charges::FileEnd;
use crate::files::renewal;
use crate::files::tables::files;
use crate::files::upload::UploadError;

/// Ends the versions that one unpaid file belongs to, unless its owner can pay by now; `false` when there is none.
pub async fn expire_one(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let Some(unpaid) = tables::parts::one_unpaid(&mut transaction).await? else {
        return Ok(false);
    };
    let Some(pointed) = ending::lock(&mut transaction, unpaid).await? else {
        return Ok(true); // gone, or written to meanwhile: later
    };
    if !renewal::renew(&objects.files, &mut transaction, &pointed.file).await? {
        ending::end(
            &mut transaction,
            &objects.entropy,
            pointed,
            FileEnd::Expired,
        )
        .await?;
        tracing::info!(file_id = %unpaid, "an object was not paid for any longer and is deleted");
    }
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(true)
}

/// Deletes one version whose time is up; `false` when there is none. Where versions are kept, it goes with the whole key
/// that it is the latest of: what it had replaced must not come back by itself.
pub async fn expire_one_version(objects: &Objects) -> Result<bool, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let Some(expired) = tables::versions::one_expired(&mut connection).await? else {
        return Ok(false);
    };
    let bucket = tables::buckets::by_id(&mut connection, expired.bucket).await?;
    drop(connection);
    let key = ObjectKey::sealed(expired.key.clone());
    let (Some(bucket), Ok(key)) = (bucket, key) else {
        return Ok(true); // gone meanwhile
    };
    let unchanged = WriteCondition::Etag(expired.etag.clone());
    if expired.is_latest && bucket.versioning != Versioning::Off {
        let holder = Holder {
            account: bucket.owner,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        match delete::key(objects, holder, &bucket, &key, unchanged).await {
            Ok(_) | Err(ObjectError::Upload(UploadError::Refused(_))) => {}
            // Who cannot pay for a marker has the version gone alone.
            Err(ObjectError::Upload(
                UploadError::PaymentRequired { .. } | UploadError::TooManyFiles(_),
            )) => {
                delete_expired(objects, &bucket, &key, &expired).await?;
            }
            Err(error) => return Err(error),
        }
        return Ok(true);
    }
    delete_expired(objects, &bucket, &key, &expired).await?;
    Ok(true)
}

async fn delete_expired(
    objects: &Objects,
    bucket: &Bucket,
    key: &ObjectKey,
    expired: &ObjectVersion,
) -> Result<(), ObjectError> {
    let version = VersionRef::Id(expired.id);
    delete::version(objects, bucket, key, version, &WriteCondition::None).await?;
    Ok(())
}

/// Gives up one upload in parts whose time is up; `false` when there is none.
pub async fn expire_one_multipart(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let Some((id, is_completed)) = tables::multiparts::lock_one_expired(&mut transaction).await?
    else {
        return Ok(false);
    };
    let parts = tables::multiparts::files_of(&mut transaction, &[id]).await?;
    files::lock_parts(&mut transaction, &parts).await?;
    tables::multiparts::delete(&mut transaction, id).await?;
    release::end_unnamed(&mut transaction, &objects.entropy, &parts).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    if !is_completed {
        tracing::info!(upload_id = %id, "an unfinished upload in parts expired");
    }
    Ok(true)
}

/// Ends files that were too many for the transaction that let them go; `false` when there are none.
pub async fn end_released(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let more = release::end_released(&mut transaction, &objects.entropy).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(more)
}
