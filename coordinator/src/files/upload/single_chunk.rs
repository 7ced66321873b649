//! A file that comes in one piece: one body of one chunk at most. It is stored first and then
//! acknowledged in one transaction, which it shares with others that wait at the same time. No
//! session is opened, as there is nothing to resume: a body that breaks off leaves nothing, and a
//! coordinator that dies in between leaves blobs that no row names, which reconciling finds. Of a class whose chunks are
//! longer it may be longer, too.

use std::sync::Arc;

use proto::FileId;

use crate::blobs::body::ChunkBody;
use crate::blobs::put::FileKey;
use crate::files::Files;
use crate::files::upload::single_chunk_commit::SingleChunkFile;
use crate::files::upload::{UploadError, allowance, content_hash, send, session};
use crate::keys::data_keys::WrappedKey;
use limits::memory::Holder;
use model::upload::UploadRequest;

use model::file::File;
use model::ids::{UploadId, uuid_v7};
use sealing::{ChunkRef, ChunkVersion, DataKey};

pub async fn upload(
    files: &Files,
    request: &UploadRequest,
    holder: Holder,
    body: ChunkBody,
    chunk_size: u32,
) -> Result<File, UploadError> {
    // Where something hangs on what the body is, that is found out before nodes are put to work.
    let mut content = None;
    if request.idempotency_key.is_some() || !request.declared.is_empty() {
        let hashed = content_hash::of_chunk(files, request.declared, body.clone()).await?;
        if let Some(file) = session::completed_before(files, request, hashed).await? {
            return Ok(file);
        }
        content = Some(hashed);
    }
    let size_bytes = body.len() as u64;
    let scheme = files.blobs.scheme_for(request.class, size_bytes)?;
    let priced = files
        .billing
        .priced(request.terms(size_bytes), size_bytes, scheme);
    if request.size_bytes.is_none() {
        allowance::check(files, request.user_id, priced.month()?).await?;
    }

    let (now, mut rng) = (files.clock.now(), files.entropy.rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let keys = &files.blobs.keys;
    let data_key = DataKey::generate(keys.sealing(), &mut rng)?;
    let wrapped_key = WrappedKey::new(file_id, &data_key, &keys.master(), &mut rng)?;
    let key = Arc::new(FileKey {
        data_key: Arc::new(data_key),
        scheme,
    });
    // The only chunk is the file: one digest is that of both.
    let sha256 = async {
        let content = match content {
            Some(content) => content,
            None => content_hash::of_chunk(files, request.declared, body.clone()).await?,
        };
        Ok::<_, UploadError>(content.sha256)
    };
    let (sha256, chunk) = match body.is_empty() {
        true => (sha256.await?, None),
        false => {
            let place = ChunkVersion {
                chunk: ChunkRef { file_id, index: 0 },
                version: files.blobs.versions.next(),
            };
            let sent = send::chunk(files, &key, holder, place, body.clone(), sha256).await?;
            (sent.chunk.sha256, Some(sent))
        }
    };
    let file = SingleChunkFile {
        id: file_id,
        upload_id: UploadId::from_uuid(uuid_v7(now, &mut rng)),
        request: request.clone(),
        priced,
        sha256,
        chunk_size,
        key: wrapped_key,
        chunk,
    };
    files.file_commits.submit(file).await?
}
