//! Making buckets and taking them away. A name is unique in the network, and first come.

use model::ids::{BucketId, UserId};
use model::names::BucketName;
use model::objects::{Bucket, Names, Versioning};
use sqlx::PgConnection;

use super::{ObjectError, Objects, tables};

pub async fn create(
    objects: &Objects,
    user: UserId,
    name: &BucketName,
    kind: (Versioning, Names),
) -> Result<Bucket, ObjectError> {
    let limit = objects.config.max_buckets_per_user;
    let mut transaction = objects.db.begin().await?;
    if let Some(taken) = tables::buckets::by_name(&mut transaction, name.as_str()).await? {
        return Err(taken_by(&taken, user));
    }
    if tables::buckets::lock_owner(&mut transaction, user).await? >= i64::from(limit) {
        return Err(ObjectError::TooManyBuckets { limit });
    }
    if tables::buckets::rests(&mut transaction, name, user).await? {
        return Err(ObjectError::NameRests);
    }
    let id = BucketId::from_uuid(objects.new_id());
    let added = tables::buckets::insert(&mut transaction, id, user, name, kind).await?;
    let bucket = tables::buckets::by_name(&mut transaction, name.as_str()).await?;
    let bucket = bucket.ok_or(ObjectError::NameTaken)?;
    if !added {
        return Err(taken_by(&bucket, user)); // at this very moment
    }
    transaction.commit().await?;
    Ok(bucket)
}

fn taken_by(bucket: &Bucket, user: UserId) -> ObjectError {
    match bucket.owner == user {
        true => ObjectError::NameYours,
        false => ObjectError::NameTaken,
    }
}

/// In order of name.
pub async fn list(objects: &Objects, user: UserId) -> Result<Vec<Bucket>, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    Ok(tables::buckets::of_user(&mut connection, user).await?)
}

/// Takes an empty bucket away. Its name rests for 30 days: programs that have not heard of it do not send what was meant
/// for it to somebody else.
pub async fn delete(objects: &Objects, bucket: &Bucket) -> Result<(), ObjectError> {
    let mut transaction = objects.db.begin().await?;
    remove(&mut transaction, bucket.id).await?;
    transaction.commit().await?;
    Ok(())
}

/// [`delete`], in a transaction that does more.
pub(super) async fn remove(connection: &mut PgConnection, id: BucketId) -> Result<(), ObjectError> {
    if !tables::buckets::lock_for_deletion(connection, id).await? {
        return Err(ObjectError::NoSuchBucket);
    }
    if !tables::buckets::is_empty(connection, id).await? {
        return Err(ObjectError::NotEmpty);
    }
    tables::buckets::delete(connection, id).await?;
    Ok(())
}

/// Versions that are there stay.
pub async fn keep_versions(
    objects: &Objects,
    bucket: &Bucket,
    keep: bool,
) -> Result<(), ObjectError> {
    let to = match keep {
        true => Versioning::Enabled,
        false => Versioning::Suspended,
    };
    let mut connection = objects.db.acquire().await?;
    tables::buckets::set_versioning(&mut connection, bucket.id, to).await?;
    Ok(())
}
