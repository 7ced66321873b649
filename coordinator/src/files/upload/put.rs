//! The second step: one chunk of an open session.

use std::sync::Arc;

use futures::Stream;

use crate::blobs;
use crate::blobs::body::{ChunkBody, ChunkReader};
use crate::blobs::memory::Holder;
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::{ChunkCommit, CommitError, SentChunk};
use crate::files::upload::{AcceptedChunk, Received, UploadError};
use crate::files::{Files, tables};
use model::file::UploadingFile;

use model::chunk::StoredChunk;
use model::chunking::MAX_CHUNKS;
use model::ids::{FileId, UploadId, UserId};
use model::upload::{Upload, UploadState};
use sealing::{ChunkRef, ChunkVersion};

/// Takes one chunk of an open session. Sent again, the last content wins.
pub async fn put_chunk<S, E>(
    files: Arc<Files>,
    holder: Holder,
    id: UploadId,
    index: u32,
    body: S,
) -> Result<AcceptedChunk, UploadError>
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    let user = holder.account;
    let (upload, file, key) = open_session(&files, user, id).await?;
    let chunk_count = file
        .layout()
        .map_or(MAX_CHUNKS, |layout| layout.chunk_count());
    let expected = match file.layout() {
        Some(layout) => layout.chunk_len(u64::from(index)),
        None => None, // a streaming request brings its chunks itself
    };
    let expected = expected.ok_or(UploadError::IndexOutOfRange { index, chunk_count })?;

    let mut share = files.upload_memory.arriving.open(holder);
    let mut reader = ChunkReader::new(body, expected);
    let chunk = reader.next_chunk(&mut share).await?.unwrap_or_default();
    let wrong = |received| UploadError::WrongLength {
        index,
        expected,
        received,
    };
    if chunk.len() < expected as usize {
        return Err(wrong(Received::Exactly(chunk.len())));
    }
    if reader.has_more().await? {
        return Err(wrong(Received::MoreThan(expected as usize)));
    }

    // From here on the chunk goes its way as a task of its own: what it sends to nodes has to end in
    // rows or in purges, also when the client has gone.
    let accept = accept(files, upload, key, holder, index, chunk);
    let task = tokio::spawn(async move {
        let accepted = accept.await;
        drop(share);
        accepted
    });
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.into())))
}

async fn accept(
    files: Arc<Files>,
    upload: Upload,
    key: Arc<FileKey>,
    holder: Holder,
    index: u32,
    chunk: ChunkBody,
) -> Result<AcceptedChunk, UploadError> {
    let size_bytes = chunk.len() as u32;
    let _sealed = files
        .upload_memory
        .sealed(holder, key.scheme, chunk.len())
        .await;
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: upload.file_id,
            index,
        },
        version: next_version(&files, upload.file_id, index).await?,
    };
    let digest = {
        let chunk = chunk.clone();
        files.blobs.crypto.run(move || chunk.sha256())
    };
    let put = blobs::put::put(&files.blobs, &key, place, chunk);
    let (tentative, sha256) = tokio::join!(put, digest);
    let (tentative, sha256) = (tentative?, sha256?);
    let stored = StoredChunk {
        file_id: upload.file_id,
        index,
        version: place.version,
        size_bytes,
        sha256: Some(sha256),
        replicas: tentative.replicas().to_vec(),
    };
    let sent = SentChunk {
        chunk: stored,
        blobs: tentative,
    };
    let commit = ChunkCommit {
        upload_id: upload.id,
        chunks: vec![sent],
    };
    files
        .chunk_commits
        .submit(commit)
        .await
        .map_err(CommitError::from)??;
    Ok(AcceptedChunk {
        index,
        size_bytes,
        sha256,
        replicas: key.scheme.pieces(),
    })
}

/// Higher than that of the content that stands, whatever this coordinator's clock says.
async fn next_version(files: &Files, file: FileId, index: u32) -> Result<u64, UploadError> {
    let mut connection = files.db.acquire().await?;
    let before =
        blobs::tables::chunks::existing_versions(&mut connection, &[(file, index)]).await?;
    let least = before.first().map_or(0, |(.., version)| version + 1);
    Ok(files.blobs.versions.next().max(least))
}

async fn open_session(
    files: &Files,
    user: UserId,
    id: UploadId,
) -> Result<(Upload, UploadingFile, Arc<FileKey>), UploadError> {
    let mut connection = files.db.acquire().await?;
    let upload = tables::uploads::by_id(&mut connection, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Closed);
    }
    if upload.expired {
        return Err(UploadError::Expired(upload.expires_at));
    }
    let file = tables::files::uploading(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let (master_id, wrapped) = tables::files::wrapped_key(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    drop(connection);
    let master = files.blobs.keys.master_by_id(&master_id, &files.db).await;
    let master = master.map_err(UploadError::Internal)?;
    let key = FileKey {
        data_key: Arc::new(master.unwrap(upload.file_id, &wrapped)?),
        scheme: file.scheme,
    };
    Ok((upload, file, Arc::new(key)))
}
