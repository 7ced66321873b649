//! A chunk on its way: onto its nodes, and its digest beside that.
//!
//! Every chunk has one, however its file came: it is what a coordinator signs of the chunk, and what an owner compares
//! with what he has.

use std::sync::Arc;

use crate::blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::put::FileKey;
use crate::files::Files;
use crate::files::upload::UploadError;
use crate::files::upload::chunk_commit::SentChunk;
use limits::memory::Holder;

use model::chunk::StoredChunk;
use sealing::ChunkVersion;

/// Waits until there is memory for the chunk's sealed copies, and holds it until they lie on their nodes.
pub(super) async fn chunk<E>(
    files: &Files,
    key: &Arc<FileKey>,
    holder: Holder,
    place: ChunkVersion,
    body: ChunkBody,
    sha256: impl Future<Output = Result<[u8; 32], E>>,
) -> Result<SentChunk, UploadError>
where
    UploadError: From<E>,
{
    let length = body.len();
    let _sealed = files.upload_memory.sealed(holder, key.scheme, length).await;
    let put = blobs::put::put(&files.blobs, key, place, body);
    let (tentative, sha256) = tokio::join!(put, sha256);
    let (tentative, sha256) = (tentative?, sha256?);
    let chunk = StoredChunk {
        file_id: place.chunk.file_id,
        index: place.chunk.index,
        version: place.version,
        size_bytes: length as u32,
        sha256,
        replicas: tentative.replicas().to_vec(),
    };
    Ok(SentChunk {
        chunk,
        blobs: tentative,
    })
}

/// Of one chunk.
pub(super) async fn digest(files: &Files, body: &ChunkBody) -> Result<[u8; 32], TaskLost> {
    let (length, body) = (body.len(), body.clone());
    let hashing = move || body.sha256();
    files.blobs.crypto.run_over(length, hashing).await
}
