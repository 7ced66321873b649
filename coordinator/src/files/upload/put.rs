//! The second step: one chunk of an open session.

use std::sync::Arc;

use futures::Stream;

use crate::blobs::body::{ChunkBody, ChunkReader};
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::{ChunkCommit, CommitError, SentChunk};
use crate::files::upload::resend::{self, Sent};
use crate::files::upload::{AcceptedChunk, Received, UploadError, content_hash, send};
use crate::files::{Files, tables};
use crate::security;
use limits::memory::Holder;
use model::file::UploadingFile;

use model::chunking::MAX_CHUNKS;
use model::ids::{UploadId, UserId};
use model::upload::{DeclaredDigests, Upload, UploadState};
use sealing::{ChunkRef, ChunkVersion};

/// Takes one chunk of an open session, if it is what its client declares. Sent again, the last content wins, and is
/// charged; the same content moves nothing.
pub async fn put_chunk<S, E>(
    files: Arc<Files>,
    holder: Holder,
    id: UploadId,
    index: u32,
    declared: DeclaredDigests,
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

    if !declared.is_empty() {
        content_hash::of_chunk(&files, declared, chunk.clone()).await?;
    }

    // From here on the chunk goes its way as a task of its own: what it sends to nodes has to end in
    // rows or in purges, also when the client has gone.
    let accept = accept(files, Arc::new(upload), file, key, holder, index, chunk);
    let task = tokio::spawn(security::carried(async move {
        let accepted = accept.await;
        drop(share);
        accepted
    }));
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.into())))
}

/// Stores a chunk of the right length, unless it stands with this content already. Has to run to its end.
pub(super) async fn accept(
    files: Arc<Files>,
    upload: Arc<Upload>,
    file: UploadingFile,
    key: Arc<FileKey>,
    holder: Holder,
    index: u32,
    chunk: ChunkBody,
) -> Result<AcceptedChunk, UploadError> {
    let size_bytes = chunk.len() as u32;
    let accepted = |sha256| AcceptedChunk {
        index,
        size_bytes,
        sha256,
        replicas: key.scheme.pieces(),
    };
    let digest = || send::digest(&files, &chunk);
    let _turn = files.turns.take((upload.id, index)).await;
    let again = match resend::admit(&files, &upload, &file, index, digest()).await? {
        Sent::Acknowledged { sha256 } => return Ok(accepted(sha256)),
        Sent::First => None,
        Sent::Again(again) => Some(again),
    };
    // Higher than that of the content that stands, whatever this coordinator's clock says.
    let least = again.as_ref().map_or(0, |again| again.version_before + 1);
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: upload.file_id,
            index,
        },
        version: files.blobs.versions.next().max(least),
    };
    let sent = send::chunk(&files, &key, holder, place, chunk.clone(), digest()).await;
    let stored = match sent {
        Ok(sent) => commit(&files, &upload, sent).await,
        Err(error) => Err(error),
    };
    match (stored, again) {
        (Ok(sha256), _) => Ok(accepted(sha256)),
        // Who gives an upload up while its chunks are on their way has had them moved.
        (Err(error), Some(again)) if !matches!(error, UploadError::Closed) => {
            if let Err(unpaid) = again.give_back(&files, &upload).await {
                tracing::warn!(
                    upload_id = %upload.id, index, error = %unpaid,
                    "what a chunk cost that was not stored could not be given back"
                );
            }
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

/// Enters a chunk that lies on its nodes; its digest.
async fn commit(files: &Files, upload: &Upload, sent: SentChunk) -> Result<[u8; 32], UploadError> {
    let sha256 = sent.chunk.sha256;
    let commit = ChunkCommit {
        upload_id: upload.id,
        chunks: vec![sent],
    };
    let committed = files.chunk_commits.submit(commit).await;
    committed.map_err(CommitError::from)??;
    Ok(sha256)
}

pub(super) async fn open_session(
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
