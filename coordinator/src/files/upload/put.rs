//! The second step: one chunk of an open session.

use std::sync::Arc;

use futures::Stream;

use crate::blobs;
use crate::blobs::body::{ChunkBody, ChunkReader};
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::{ChunkCommit, CommitError};
use crate::files::upload::{AcceptedChunk, Received, UploadError, send};
use crate::files::{Files, tables};
use model::file::UploadingFile;

use model::chunking::MAX_CHUNKS;
use model::ids::{FileId, UploadId, UserId};
use model::upload::{Upload, UploadState};
use sealing::{ChunkRef, ChunkVersion};

/// Takes one chunk of an open session. Sent again, the last content wins.
pub async fn put_chunk<S, E>(
    files: Arc<Files>,
    user: UserId,
    id: UploadId,
    index: u32,
    body: S,
) -> Result<AcceptedChunk, UploadError>
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let (upload, file, key) = open_session(&files, user, id).await?;
    let chunk_count = file
        .layout()
        .map_or(MAX_CHUNKS, |layout| layout.chunk_count());
    let expected = match file.layout() {
        Some(layout) => layout.chunk_len(u64::from(index)),
        None => None, // a streaming request brings its chunks itself
    };
    let expected = expected.ok_or(UploadError::IndexOutOfRange { index, chunk_count })?;

    let memory = u64::from(expected) * u64::from(key.scheme.pieces() + 1);
    let share = files.upload_memory.reserve(memory).await;
    let mut reader = ChunkReader::new(body, expected);
    // The share is held meanwhile: who is too slow for it must not keep others from theirs.
    let read = tokio::time::timeout(files.idle_timeout, reader.next_chunk());
    let chunk = read
        .await
        .map_err(|_| UploadError::TooSlow)??
        .unwrap_or_default();
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
    let accept = accept(files, upload, key, index, chunk);
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
    index: u32,
    chunk: ChunkBody,
) -> Result<AcceptedChunk, UploadError> {
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: upload.file_id,
            index,
        },
        version: next_version(&files, upload.file_id, index).await?,
    };
    let sent = send::chunk(&files, &key, place, chunk).await?;
    let (size_bytes, sha256) = (sent.chunk.size_bytes, sent.chunk.sha256);
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
    let wrapped = tables::files::wrapped_key(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    drop(connection);
    let keys = &files.blobs.keys;
    let data_key = keys.data_key(upload.file_id, &wrapped, &files.db).await;
    let key = FileKey {
        data_key: Arc::new(data_key.map_err(UploadError::Internal)?),
        scheme: file.scheme,
    };
    Ok((upload, file, Arc::new(key)))
}
