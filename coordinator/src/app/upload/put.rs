//! The second step: one chunk of an open session.

use std::sync::Arc;

use futures::Stream;

use super::body::{ChunkBody, ChunkReader};
use super::chunk::{FileKey, store_chunk};
use super::commit::UNKNOWN_OUTCOME_DELAY;
use super::{AcceptedChunk, InVain, Received, UploadError};
use crate::app::App;
use crate::db;
use crate::db::chunks::StoredChunk;
use crate::db::uploads::{Upload, UploadState};
use crate::domain::chunking::MAX_CHUNKS;
use crate::domain::ids::{FileId, UploadId, UserId};
use crate::domain::sealing::{ChunkRef, Place};

/// Takes one chunk of an open session. Sent again, the last content wins.
pub async fn put_chunk<S, E>(
    app: Arc<App>,
    user: UserId,
    id: UploadId,
    index: u32,
    body: S,
) -> Result<AcceptedChunk, UploadError>
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let (upload, file, key) = open_session(&app, user, id).await?;
    let chunk_count = file
        .layout()
        .map_or(MAX_CHUNKS, |layout| layout.chunk_count());
    let expected = match file.layout() {
        Some(layout) => layout.chunk_len(u64::from(index)),
        None => None, // a streaming request brings its chunks itself
    };
    let expected = expected.ok_or(UploadError::IndexOutOfRange { index, chunk_count })?;

    let memory = u64::from(expected) * u64::from(key.replication + 1);
    let share = app.upload_memory.reserve(memory).await;
    let mut reader = ChunkReader::new(body, expected);
    // The share is held meanwhile: who is too slow for it must not keep others from theirs.
    let read = tokio::time::timeout(app.config.http.idle_timeout, reader.next_chunk());
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
    let accept = accept(app, upload, key, index, chunk);
    let task = tokio::spawn(async move {
        let accepted = accept.await;
        drop(share);
        accepted
    });
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.to_string())))
}

async fn accept(
    app: Arc<App>,
    upload: Upload,
    key: Arc<FileKey>,
    index: u32,
    chunk: ChunkBody,
) -> Result<AcceptedChunk, UploadError> {
    let size_bytes = chunk.len() as u32;
    let place = Place {
        chunk: ChunkRef {
            file_id: upload.file_id,
            index,
        },
        version: next_version(&app, upload.file_id, index).await?,
    };
    let digest = {
        let chunk = chunk.clone();
        app.crypto.run(move || chunk.sha256())
    };
    let (receipts, sha256) = tokio::join!(store_chunk(&app, &key, place, chunk), digest);
    let receipts = match receipts {
        Ok(receipts) => receipts,
        Err((error, in_vain)) => {
            purge_in_vain(&app, &in_vain).await;
            return Err(error.into());
        }
    };
    let sha256 = sha256?;
    let stored = StoredChunk {
        file_id: upload.file_id,
        index,
        version: place.version,
        size_bytes,
        sha256: Some(sha256),
        replicas: receipts.replicas,
    };
    app.committer
        .commit(upload.id, vec![stored], receipts.in_vain)
        .await?;
    Ok(AcceptedChunk {
        index,
        size_bytes,
        sha256,
        replicas: key.replication,
    })
}

/// Higher than that of the content that stands, whatever this coordinator's clock says.
async fn next_version(app: &App, file: FileId, index: u32) -> Result<u64, UploadError> {
    let mut connection = app.db.acquire().await?;
    let before = db::chunks::existing_versions(&mut connection, &[(file, index)]).await?;
    let least = before.first().map_or(0, |(.., version)| version + 1);
    Ok(app.versions.next().max(least))
}

/// What a failed chunk may have left on nodes is purged; if the database is away too, reconciling
/// finds it.
pub(super) async fn purge_in_vain(app: &App, in_vain: &InVain) {
    let enqueue = async {
        let mut connection = app.db.acquire().await?;
        db::purges::enqueue(&mut connection, in_vain, UNKNOWN_OUTCOME_DELAY).await
    };
    if let Err(error) = enqueue.await {
        tracing::warn!(%error, blobs = in_vain.len(), "left blobs behind that no row names");
    }
}

async fn open_session(
    app: &App,
    user: UserId,
    id: UploadId,
) -> Result<(Upload, db::files::UploadingFile, Arc<FileKey>), UploadError> {
    let mut connection = app.db.acquire().await?;
    let upload = db::uploads::by_id(&mut connection, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Closed);
    }
    if upload.expired {
        return Err(UploadError::Expired(upload.expires_at));
    }
    let file = db::files::uploading(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let (master_id, wrapped) = db::files::wrapped_key(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    drop(connection);
    let master = app.keys.master_by_id(&master_id, &app.db).await;
    let master = master.map_err(|error| UploadError::Internal(format!("{error:#}")))?;
    let key = FileKey {
        data_key: Arc::new(master.unwrap(upload.file_id, &wrapped)?),
        replication: file.replication,
    };
    Ok((upload, file, Arc::new(key)))
}
