//! A file that comes in one piece: one body of one chunk at most. It is stored first and then
//! acknowledged in one transaction, which it shares with others that wait at the same time. No
//! session is opened, as there is nothing to resume: a body that breaks off leaves nothing, and a
//! coordinator that dies in between leaves blobs that no row names, which reconciling finds.

use std::sync::Arc;

use proto::FileId;

use crate::blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::put::FileKey;
use crate::files::Files;
use crate::files::upload::chunk_commit::SentChunk;
use crate::files::upload::single_chunk_commit::SingleChunkFile;
use crate::files::upload::{UploadError, allowance, session};
use model::upload::UploadRequest;

use model::chunk::StoredChunk;
use model::file::File;
use model::ids::{UploadId, uuid_v7};
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
    let priced = files.billing.priced(&request.filename, size_bytes, scheme);
    allowance::check(files, request.user_id, priced.month()?).await?;

    let (now, mut rng) = (files.clock.now(), files.entropy.rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let master = files.blobs.keys.master();
    let data_key = DataKey::generate(&mut rng)?;
    let wrapped_key = master.wrap(file_id, &data_key, &mut rng)?;
    let key = Arc::new(FileKey {
        data_key: Arc::new(data_key),
        scheme,
    });
    let chunk = store(files, &key, file_id, body).await?;
    let file = SingleChunkFile {
        id: file_id,
        upload_id: UploadId::from_uuid(uuid_v7(now, &mut rng)),
        request: request.clone(),
        priced,
        chunk_size: files.uploads.chunk_size.as_u64() as u32,
        master_key_id: master.id().to_owned(),
        wrapped_key: wrapped_key.to_vec(),
        chunk,
    };
    files.file_commits.submit(file).await?
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
    let size_bytes = body.len() as u32;
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
