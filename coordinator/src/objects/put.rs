//! Storing an object: its bytes come in as every file's do, and the key points to them from the moment on that they are
//! all there.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use limits::memory::Holder;
use model::file::File;
use model::ids::VersionId;
use model::names::Filename;
use model::objects::{
    Bucket, ContentSum, Described, NewObject, ObjectContent, ObjectVersion, SumSlot, Target,
};
use model::storage_class::StorageClass;
use model::upload::{DeclaredDigests, UploadRequest};

use super::{ObjectError, Objects};
use crate::blobs::body::ChunkBody;
use crate::files::upload::{session, single_chunk, stream};

/// Stores what `body` brings, as a version. Whoever hands it over fills `sum` when its last byte has come.
pub async fn put<S, E>(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    described: Described,
    size_bytes: Option<u64>,
    sum: SumSlot,
    body: S,
) -> Result<VersionId, ObjectError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let new = NewObject {
        bucket: bucket.id,
        version: objects.new_version(),
        described,
        content: ObjectContent::File(sum),
    };
    let version = new.version;
    let request = request(bucket, new, size_bytes, DeclaredDigests::default());
    store(objects, holder, request, body).await?;
    Ok(version)
}

/// The same of bytes that nobody takes an MD5 of: the version is known by its own id.
pub async fn put_unsummed<S, E>(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    described: Described,
    (size_bytes, declared): (Option<u64>, DeclaredDigests),
    body: S,
) -> Result<ObjectVersion, ObjectError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let new = new_unsummed(objects, bucket, described);
    let request = request(bucket, new.clone(), size_bytes, declared);
    let file = store(objects, holder, request, body).await?;
    Ok(written(bucket, new, &file))
}

/// A version of a file that is going to come, known by its own id.
pub(super) fn new_unsummed(objects: &Objects, bucket: &Bucket, described: Described) -> NewObject {
    let version = objects.new_version();
    let sum = SumSlot::from(std::sync::OnceLock::from(ContentSum::of_version(version)));
    NewObject {
        bucket: bucket.id,
        version,
        described,
        content: ObjectContent::File(sum),
    }
}

async fn store<S, E>(
    objects: &Objects,
    holder: Holder,
    request: UploadRequest,
    body: S,
) -> Result<File, ObjectError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let files = Arc::clone(&objects.files);
    let file = stream::upload(files, request, holder, body).await?;
    let uploaded = &objects.files.metrics.uploaded_bytes;
    uploaded.inc_by(file.layout.size_bytes);
    objects.files.forget_wake.wake();
    Ok(file)
}

/// A version as it was when it had just been written; by now another one may be in its place.
fn written(bucket: &Bucket, new: NewObject, file: &File) -> ObjectVersion {
    let described = new.described;
    ObjectVersion {
        bucket: bucket.id,
        key: described.key.into_string(),
        id: new.version,
        is_null: !bucket.versioning.keeps(),
        is_latest: true,
        is_marker: false,
        size_bytes: file.layout.size_bytes,
        etag: ContentSum::of_version(new.version).etag,
        checksum: None,
        content_type: described.content_type.into_string(),
        metadata: described.metadata,
        created_at: file.completed_at,
        expires_at: described.expires_at,
    }
}

/// Has a key point to what is there already, or to nothing. An empty file comes in for it, which is what it is billed by.
pub(super) async fn put_without_bytes(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    described: Described,
    content: ObjectContent,
) -> Result<VersionId, ObjectError> {
    let new = NewObject {
        bucket: bucket.id,
        version: objects.new_version(),
        described,
        content,
    };
    let version = new.version;
    let request = request(bucket, new, Some(0), DeclaredDigests::default());
    let (files, nothing) = (&objects.files, ChunkBody::default());
    let chunk_size = session::chunk_size(files, files.blobs.copies());
    single_chunk::upload(files, &request, holder, nothing, chunk_size).await?;
    objects.files.forget_wake.wake();
    Ok(version)
}

pub(super) fn request(
    bucket: &Bucket,
    new: NewObject,
    size_bytes: Option<u64>,
    declared: DeclaredDigests,
) -> UploadRequest {
    UploadRequest {
        user_id: bucket.owner,
        filename: Filename::from(&new.described.key),
        content_type: new.described.content_type.clone(),
        size_bytes,
        class: StorageClass::Standard,
        idempotency_key: None,
        declared,
        target: Some(Arc::new(Target::Object(new))),
    }
}
