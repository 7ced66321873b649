//! A chunk on its way: onto its nodes, and its digest beside that.
//!
//! Every chunk has one, however its file came: it is what a coordinator signs of the chunk, and what an owner compares
//! with what he has.

use std::sync::Arc;

use crate::blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::put::FileKey;
use crate::files::Files;
use crate::files::upload::UploadError;
use crate::files::upload::chunk_commit::SentChunk;

use model::chunk::StoredChunk;
use sealing::ChunkVersion;

pub(super) async fn chunk(
    files: &Files,
    key: &Arc<FileKey>,
    place: ChunkVersion,
    body: ChunkBody,
) -> Result<SentChunk, UploadError> {
    let length = body.len();
    let digest = {
        let body = body.clone();
        files.blobs.crypto.run_over(length, move || body.sha256())
    };
    let put = blobs::put::put(&files.blobs, key, place, body);
    let (tentative, sha256) = tokio::join!(put, digest);
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
