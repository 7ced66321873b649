//! Storing an object: its bytes come in as every file's do, and the key points to them from the moment on that they are
//! all there.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use limits::memory::Holder;
use model::ids::VersionId;
use model::names::Filename;
use model::objects::{Bucket, Described, NewObject, ObjectContent, SumSlot, Target};
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
    let (request, version) = request(
        objects,
        bucket,
        described,
        ObjectContent::File(sum),
        size_bytes,
    );
    let files = Arc::clone(&objects.files);
    let file = stream::upload(files, request, holder, body).await?;
    let uploaded = &objects.files.metrics.uploaded_bytes;
    uploaded.inc_by(file.layout.size_bytes);
    Ok(version)
}

/// Has a key point to what is there already, or to nothing. An empty file comes in for it, which is what it is billed by.
pub(super) async fn put_without_bytes(
    objects: &Objects,
    holder: Holder,
    bucket: &Bucket,
    described: Described,
    content: ObjectContent,
) -> Result<VersionId, ObjectError> {
    let (request, version) = request(objects, bucket, described, content, Some(0));
    let (files, nothing) = (&objects.files, ChunkBody::default());
    let chunk_size = session::chunk_size(files, files.blobs.copies());
    single_chunk::upload(files, &request, holder, nothing, chunk_size).await?;
    objects.files.forget_wake.wake();
    Ok(version)
}

fn request(
    objects: &Objects,
    bucket: &Bucket,
    described: Described,
    content: ObjectContent,
    size_bytes: Option<u64>,
) -> (UploadRequest, VersionId) {
    let version = VersionId::from_uuid(objects.new_id());
    let request = UploadRequest {
        user_id: bucket.owner,
        filename: Filename::from(&described.key),
        content_type: described.content_type.clone(),
        size_bytes,
        class: StorageClass::Standard,
        idempotency_key: None,
        declared: DeclaredDigests::default(),
        target: Some(Arc::new(Target::Object(NewObject {
            bucket: bucket.id,
            key: described.key,
            version,
            content_type: described.content_type,
            metadata: described.metadata,
            condition: described.condition,
            content,
        }))),
    };
    (request, version)
}
