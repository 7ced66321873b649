//! A file that comes in one piece: one body of one chunk at most. It is stored first and then
//! acknowledged in one transaction, which it shares with others that wait at the same time. No
//! session is opened, as there is nothing to resume: a body that breaks off leaves nothing, and a
//! coordinator that dies in between leaves blobs that no row names, which reconciling finds.

use std::sync::Arc;

use proto::FileId;

use crate::blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::memory::Holder;
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::SentChunk;
use crate::files::upload::single_chunk_commit::{SingleChunkFile, refused};
use crate::files::upload::{UploadError, session};
use crate::files::{Files, tables};
use model::upload::UploadRequest;

use model::chunk::StoredChunk;
use model::file::File;
use model::ids::{UploadId, UserId, uuid_v7};
use sealing::{ChunkRef, ChunkVersion, DataKey};

pub async fn upload(
    files: &Files,
    request: &UploadRequest,
    holder: Holder,
    body: ChunkBody,
) -> Result<File, UploadError> {
    if let Some(file) = session::completed_before(files, request).await? {
        return Ok(file);
    }
    let scheme = files.blobs.scheme();
    let size_bytes = body.len() as u64;
    let price = files.billing.money.price_per_gb_month;
    let cost = price.first_month(size_bytes, scheme)?;
    if request.size_bytes.is_none() {
        check_allowance(files, request.user_id, size_bytes).await?;
    }

    let (now, mut rng) = (files.clock.now(), files.entropy.rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let master = files.blobs.keys.master();
    let data_key = DataKey::generate(&mut rng)?;
    let wrapped_key = master.wrap(file_id, &data_key, &mut rng)?;
    let key = Arc::new(FileKey {
        data_key: Arc::new(data_key),
        scheme,
    });
    let chunk = store(files, &key, holder, file_id, body).await?;
    let file = SingleChunkFile {
        id: file_id,
        upload_id: UploadId::from_uuid(uuid_v7(now, &mut rng)),
        request: request.clone(),
        size_bytes,
        chunk_size: files.uploads.chunk_size.as_u64() as u32,
        scheme,
        master_key_id: master.id().to_owned(),
        wrapped_key: wrapped_key.to_vec(),
        cost,
        chunk,
    };
    files.file_commits.submit(file).await?
}

/// Before a body is read or nodes are put to work; what is decided here is decided again under a lock.
pub(super) async fn check_allowance(
    files: &Files,
    user: UserId,
    size_bytes: u64,
) -> Result<(), UploadError> {
    let price = files.billing.money.price_per_gb_month;
    let cost = price.first_month(size_bytes, files.blobs.scheme())?;
    let mut connection = files.db.acquire().await?;
    let limits = files.rules.limits;
    let mut allowance = tables::single_chunk::allowance(&mut connection, user, &limits)
        .await?
        .ok_or(UploadError::NotFound)?;
    match allowance.spend(cost) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refused(refusal, cost, limits.files)),
    }
}

async fn store(
    files: &Files,
    key: &Arc<FileKey>,
    holder: Holder,
    file_id: FileId,
    body: ChunkBody,
) -> Result<Option<SentChunk>, UploadError> {
    if body.is_empty() {
        return Ok(None);
    }
    let chunk = ChunkRef { file_id, index: 0 };
    let place = ChunkVersion {
        chunk,
        version: files.blobs.versions.next(),
    };
    let size_bytes = body.len() as u32;
    let _sealed = files
        .upload_memory
        .sealed(holder, key.scheme, body.len())
        .await;
    let tentative = blobs::put::put(&files.blobs, key, place, body).await?;
    let chunk = StoredChunk {
        file_id,
        index: 0,
        version: place.version,
        size_bytes,
        sha256: None,
        replicas: tentative.replicas().to_vec(),
    };
    Ok(Some(SentChunk {
        chunk,
        blobs: tentative,
    }))
}
