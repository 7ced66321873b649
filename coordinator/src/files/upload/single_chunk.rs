//! A file that comes in one piece: one body of one chunk at most. It is stored first and then
//! acknowledged in one transaction, which it shares with others that wait at the same time. No
//! session is opened, as there is nothing to resume: a body that breaks off leaves nothing, and a
//! coordinator that dies in between leaves blobs that no row names, which reconciling finds.

use std::sync::Arc;

use proto::FileId;

use crate::blobs::body::ChunkBody;
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::SentChunk;
use crate::files::upload::single_chunk_commit::{SingleChunkFile, refused};
use crate::files::upload::{UploadError, send, session};
use crate::files::{Files, tables};
use crate::keys::data_keys::WrappedKey;
use model::upload::UploadRequest;

use model::file::File;
use model::ids::{UploadId, uuid_v7};
use proto::MicroCredits;
use sealing::{ChunkRef, ChunkVersion, DataKey};

pub async fn upload(
    files: &Files,
    request: &UploadRequest,
    body: ChunkBody,
) -> Result<File, UploadError> {
    if let Some(file) = session::completed_before(files, request).await? {
        return Ok(file);
    }
    let scheme = files.blobs.scheme();
    let size_bytes = body.len() as u64;
    let price = files.billing.money.price_per_gb_month;
    let cost = price.first_month(size_bytes, scheme)?;
    check_allowance(files, request, cost).await?;

    let (now, mut rng) = (files.clock.now(), files.entropy.rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let keys = &files.blobs.keys;
    let data_key = DataKey::generate(keys.sealing(), &mut rng)?;
    let wrapped_key = WrappedKey::new(file_id, &data_key, &keys.master(), &mut rng)?;
    let key = Arc::new(FileKey {
        data_key: Arc::new(data_key),
        scheme,
    });
    let chunk = store(files, &key, file_id, body).await?;
    let file = SingleChunkFile {
        id: file_id,
        upload_id: UploadId::from_uuid(uuid_v7(now, &mut rng)),
        request: request.clone(),
        size_bytes,
        chunk_size: files.uploads.chunk_size.as_u64() as u32,
        scheme,
        key: wrapped_key,
        cost,
        chunk,
    };
    files.file_commits.submit(file).await?
}

/// Before nodes are put to work; what is decided here is decided again under a lock.
async fn check_allowance(
    files: &Files,
    request: &UploadRequest,
    cost: MicroCredits,
) -> Result<(), UploadError> {
    let mut connection = files.db.acquire().await?;
    let limits = files.rules.limits;
    let mut allowance = tables::single_chunk::allowance(&mut connection, request.user_id, &limits)
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
    send::chunk(files, key, place, body).await.map(Some)
}
