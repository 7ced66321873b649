//! Objects that come in parts, in any order and at the same time. Completing makes a version of them and moves no bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use limits::memory::Holder;
use model::ids::{MultipartId, VersionId};
use model::names::{ContentType, Filename, ObjectKey};
use model::objects::{
    Bucket, ContentSum, Described, Multipart, MultipartPart, NewPart, ObjectContent,
    ObjectMetadata, ObjectPart, ObjectVersion, SumSlot, Target, VersionRef, WriteCondition,
};
use model::storage_class::StorageClass;
use model::upload::{DeclaredDigests, UploadRequest};

use super::put::put_without_bytes;
use super::tables::multiparts::NewMultipart;
use super::{ObjectError, Objects, get, release, tables};
use crate::files::tables::files;
use crate::files::upload::stream;

/// Under way in one bucket at one time.
const MOST_OPEN: i64 = 10_000;

/// How long a client may take over all parts.
const TTL: Duration = Duration::from_secs(7 * 24 * 3600);

pub async fn begin(
    objects: &Objects,
    bucket: &Bucket,
    key: &ObjectKey,
    content_type: &ContentType,
    metadata: &ObjectMetadata,
    checksum_algorithm: Option<&str>,
) -> Result<MultipartId, ObjectError> {
    let new = NewMultipart {
        id: MultipartId::from_uuid(objects.new_id()),
        bucket: bucket.id,
        key,
        content_type: content_type.as_str(),
        metadata,
        checksum_algorithm,
        ttl: TTL,
    };
    let mut transaction = objects.db.begin().await?;
    if tables::buckets::share(&mut transaction, &[bucket.id])
        .await?
        .is_empty()
    {
        return Err(ObjectError::NoSuchBucket);
    }
    if tables::multiparts::count_open(&mut transaction, bucket.id, MOST_OPEN).await? >= MOST_OPEN {
        return Err(ObjectError::TooManyMultiparts { limit: MOST_OPEN });
    }
    tables::multiparts::insert(&mut transaction, &new).await?;
    transaction.commit().await?;
    Ok(new.id)
}

/// The upload of this id, if it is one of this key, and under way or just completed.
pub async fn find(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    id: MultipartId,
) -> Result<Multipart, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let found = tables::multiparts::find(&mut connection, id).await?;
    let found = found.filter(|found| found.bucket == bucket.id && found.key == key);
    found.ok_or(ObjectError::NoSuchMultipart)
}

async fn find_open(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    id: MultipartId,
) -> Result<Multipart, ObjectError> {
    let found = find(objects, bucket, key, id).await?;
    match found.completed_as {
        None => Ok(found),
        Some(_) => Err(ObjectError::NoSuchMultipart),
    }
}

/// A place in an upload.
#[derive(Debug, Clone)]
pub struct PartPlace<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a ObjectKey,
    pub id: MultipartId,
    pub number: u32,
}

/// Stores a part, in the place of the one that had its number.
pub async fn put_part<S, E>(
    objects: &Objects,
    holder: Holder,
    place: &PartPlace<'_>,
    size_bytes: Option<u64>,
    sum: SumSlot,
    body: S,
) -> Result<(), ObjectError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    find_open(objects, place.bucket, place.key.as_str(), place.id).await?;
    let request = UploadRequest {
        user_id: place.bucket.owner,
        filename: Filename::from(place.key),
        content_type: ContentType::octet_stream(),
        size_bytes,
        class: StorageClass::Standard,
        idempotency_key: None,
        declared: DeclaredDigests::default(),
        target: Some(Arc::new(Target::Part(NewPart {
            multipart: place.id,
            number: place.number,
            sum,
        }))),
    };
    let files = Arc::clone(&objects.files);
    let file = stream::upload(files, request, holder, body).await?;
    let uploaded = &objects.files.metrics.uploaded_bytes;
    uploaded.inc_by(file.layout.size_bytes);
    Ok(())
}

/// Enters the whole of a stored file as a part: its bytes do not move.
pub async fn copy_part(
    objects: &Objects,
    place: &PartPlace<'_>,
    source: &ObjectPart,
    sum: ContentSum,
) -> Result<(), ObjectError> {
    find_open(objects, place.bucket, place.key.as_str(), place.id).await?;
    let part = MultipartPart {
        number: place.number,
        file_id: source.file_id,
        size_bytes: source.size_bytes,
        etag: sum.etag,
        checksum: None,
        stored_at: objects.clock.now(),
    };
    let target = Target::Part(NewPart {
        multipart: place.id,
        number: place.number,
        sum: SumSlot::default(),
    });
    let mut transaction = objects.db.begin().await?;
    tables::locks::lock_keys(&mut transaction, vec![target.lock()]).await?;
    if tables::multiparts::share(&mut transaction, &[place.id])
        .await?
        .is_empty()
    {
        return Err(ObjectError::NoSuchMultipart);
    }
    let at = [(place.id, place.number)];
    let mut held = tables::multiparts::files_at(&mut transaction, &at).await?;
    held.push(source.file_id);
    let locked = files::lock_parts(&mut transaction, &held).await?;
    if !locked.iter().any(|file| file.id == source.file_id) {
        return Err(ObjectError::NoSuchKey); // overwritten meanwhile
    }
    tables::multiparts::put_part(&mut transaction, place.id, &part).await?;
    release::end_unnamed(&mut transaction, &objects.entropy, &held).await?;
    transaction.commit().await?;
    Ok(())
}

/// Parts behind the named one, in order.
pub async fn parts(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    id: MultipartId,
    after: u32,
    limit: i64,
) -> Result<(Multipart, Vec<MultipartPart>), ObjectError> {
    let multipart = find_open(objects, bucket, key, id).await?;
    let mut connection = objects.db.acquire().await?;
    let parts = tables::multiparts::parts(&mut connection, id, after, limit).await?;
    Ok((multipart, parts))
}

/// Makes a version of these parts, which are some of the upload's, in order. Repeated, it answers the same.
pub async fn complete(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    multipart: &Multipart,
    parts: Vec<ObjectPart>,
    sum: ContentSum,
    condition: WriteCondition,
) -> Result<VersionId, ObjectError> {
    let key = ObjectKey::try_from(multipart.key.clone());
    let content_type = ContentType::try_from(multipart.content_type.clone());
    let (Ok(key), Ok(content_type)) = (key, content_type) else {
        return Err(ObjectError::NoSuchMultipart); // were looked at when it began
    };
    let described = Described {
        content_type,
        metadata: multipart.metadata.clone(),
        condition,
        ..Described::plain(key)
    };
    let content = ObjectContent::Parts {
        parts,
        sum,
        multipart: Some(multipart.id),
    };
    put_without_bytes(objects, holder, bucket, described, content).await
}

/// What a completed upload has become, if that is still there.
pub async fn completed(
    objects: &Objects,
    bucket: &Bucket,
    multipart: &Multipart,
) -> Result<Option<ObjectVersion>, ObjectError> {
    let Some(version) = multipart.completed_as else {
        return Ok(None);
    };
    let version = VersionRef::Id(version);
    match get::find(objects, bucket, &multipart.key, version).await {
        Ok(version) => Ok(Some(version)),
        Err(ObjectError::NoSuchVersion) => Err(ObjectError::NoSuchMultipart),
        Err(error) => Err(error),
    }
}

/// Gives an upload up; its parts are paid back.
pub async fn abort(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    id: MultipartId,
) -> Result<(), ObjectError> {
    find_open(objects, bucket, key, id).await?;
    let mut transaction = objects.db.begin().await?;
    if tables::multiparts::lock(&mut transaction, &[id])
        .await?
        .is_empty()
    {
        return Err(ObjectError::NoSuchMultipart);
    }
    let parts = tables::multiparts::files_of(&mut transaction, &[id]).await?;
    files::lock_parts(&mut transaction, &parts).await?;
    tables::multiparts::delete(&mut transaction, id).await?;
    release::end_unnamed(&mut transaction, &objects.entropy, &parts).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(())
}

/// Uploads under way whose keys begin so, behind the named one.
pub async fn list(
    objects: &Objects,
    bucket: &Bucket,
    prefix: &str,
    behind: (&str, Option<MultipartId>),
    limit: i64,
) -> Result<Vec<Multipart>, ObjectError> {
    if prefix.contains('\0') || behind.0.contains('\0') {
        return Ok(Vec::new());
    }
    let before = match prefix {
        "" => None,
        prefix => rules::listing::successor(prefix),
    };
    let bounds = (prefix, before.as_deref());
    let mut connection = objects.db.acquire().await?;
    let found =
        tables::multiparts::of_bucket(&mut connection, bucket.id, bounds, behind, limit).await?;
    Ok(found)
}
