//! Giving a file back: a window of chunks is fetched ahead, each from the node that is expected to
//! answer first, and passed on in order.
//!
//! Every byte is checked twice before it leaves ([`read_chunk`]). When no replica of a
//! chunk is left the stream ends with an error, which cuts the connection: a file is never silently short.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;

use crate::blobs;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::get::{Unreadable, read_chunk};
use crate::files::{Files, tables};

use model::chunk::ChunkLocations;
use model::file::File;
use model::ids::{FileId, UserId};
use sealing::{ChunkRef, DataKey};

/// Chunk locations that one query brings.
const LOCATIONS: u32 = 256;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("there is no such file")]
    NotFound,
    #[error("no replica of chunk {index} can be read now")]
    Unreadable { index: u32 },
    #[error("{0}")]
    Internal(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<TaskLost> for DownloadError {
    fn from(error: TaskLost) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A file that may be read.
#[derive(Debug)]
pub struct ReadableFile {
    pub file: File,
    key: Arc<DataKey>,
    /// Where a file of one chunk is; of others that is asked a page at a time.
    only_chunk: Option<ChunkLocations>,
}

/// The bytes of a range: those of a single chunk are there, more are read as they are taken.
pub enum Content<S> {
    Piece(Bytes),
    Pieces(S),
}

pub async fn open(files: &Files, user: UserId, id: FileId) -> Result<ReadableFile, DownloadError> {
    let mut connection = files.db.acquire().await?;
    let readable = tables::files::readable(&mut connection, id, user)
        .await?
        .ok_or(DownloadError::NotFound)?;
    drop(connection);
    let keys = &files.blobs.keys;
    let key = keys.data_key(id, &readable.key, &files.db).await;
    let key = key.map_err(|error| DownloadError::Internal(format!("{error:#}")))?;
    Ok(ReadableFile {
        file: readable.file,
        key: Arc::new(key),
        only_chunk: readable.only_chunk,
    })
}

/// The bytes of a range, in order. The first chunk is there before this returns, so that a file that
/// cannot be read at all is an error and not a broken answer.
pub async fn read(
    files: Arc<Files>,
    file: ReadableFile,
    range: Range<u64>,
) -> Result<Content<impl Stream<Item = Result<Bytes, DownloadError>> + Send + 'static>, DownloadError>
{
    if let Some(chunk) = file.only_chunk {
        let bytes = fetch(files, file.key, file.file.id, chunk).await?;
        let end = bytes.len().min(range.end as usize);
        let start = end.min(range.start as usize);
        return Ok(Content::Piece(bytes.slice(start..end)));
    }
    read_ahead(files, file, range).await.map(Content::Pieces)
}

/// Keeps a window of chunks on their way.
async fn read_ahead(
    files: Arc<Files>,
    file: ReadableFile,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, DownloadError>> + Send + 'static, DownloadError> {
    let (chunks, skip) = file.file.layout.chunks_of(&range);
    let length = range.end - range.start;
    let (window, memory) = (files.downloads.window, files.download_memory.clone());
    let under_way = UnderWay::default();
    let ahead = locations(Arc::clone(&files), file.file.id, chunks)
        // Reading ahead takes a share of the memory; the chunk that the client waits for does not
        // have to, so that slow clients who hold shares keep nobody from going on.
        .and_then(move |locations| {
            let (memory, under_way) = (memory.clone(), under_way.clone());
            async move {
                let share = tokio::select! {
                    share = memory.reserve(u64::from(locations.size_bytes) * 2) => share,
                    () = under_way.none() => None,
                };
                Ok((locations, (share, under_way.begin())))
            }
        })
        .map_ok(move |(locations, share)| {
            let (files, key, file_id) = (Arc::clone(&files), Arc::clone(&file.key), file.file.id);
            async move {
                let task = AbortOnDrop(tokio::spawn(fetch(files, key, file_id, locations)));
                match task.await {
                    Ok(chunk) => Ok((chunk?, share)),
                    Err(error) => Err(DownloadError::Internal(error.to_string())),
                }
            }
        })
        .try_buffered(window)
        .map_ok(|(chunk, share)| {
            drop(share);
            chunk
        });
    let mut chunks = Box::pin(cut(ahead, skip, length)).peekable();
    match std::pin::Pin::new(&mut chunks)
        .next_if(Result::is_err)
        .await
    {
        Some(Err(error)) => Err(error),
        _ => Ok(chunks),
    }
}

/// Chunks of one download that were begun and have not been passed on.
#[derive(Debug, Clone, Default)]
struct UnderWay(Arc<(AtomicUsize, Notify)>);

/// One of them, until it is dropped.
struct Begun(UnderWay);

impl UnderWay {
    fn begin(&self) -> Begun {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Begun(self.clone())
    }

    async fn none(&self) {
        loop {
            let changed = self.0.1.notified();
            if self.0.0.load(Ordering::Relaxed) == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        count.fetch_sub(1, Ordering::Relaxed);
        changed.notify_waiters();
    }
}

/// A fetch ends with the download that wanted it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the chunks are, read a page at a time.
fn locations(
    files: Arc<Files>,
    file_id: FileId,
    chunks: Range<u64>,
) -> impl Stream<Item = Result<ChunkLocations, DownloadError>> + Send {
    let pages = stream::try_unfold(chunks, move |rest| {
        let files = Arc::clone(&files);
        async move {
            if rest.is_empty() {
                return Ok::<_, DownloadError>(None);
            }
            let (first, count) = (
                rest.start as u32,
                (rest.end - rest.start).min(u64::from(LOCATIONS)),
            );
            let mut connection = files.db.acquire().await?;
            let page = blobs::tables::chunks::locate(&mut connection, file_id, first, count as u32)
                .await?;
            if page.len() as u64 != count {
                return Err(DownloadError::NotFound); // deleted meanwhile
            }
            Ok(Some((page, rest.start + count..rest.end)))
        }
    });
    pages
        .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
        .try_flatten()
}

/// Leaves out what lies before the range and what lies behind it.
fn cut(
    chunks: impl Stream<Item = Result<Bytes, DownloadError>> + Send,
    skip: usize,
    length: u64,
) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send {
    chunks.scan((skip, length), |(skip, left), chunk| {
        let piece = chunk.map(|chunk| {
            let from = std::mem::take(skip).min(chunk.len());
            let to = (from as u64 + *left).min(chunk.len() as u64) as usize;
            *left -= (to - from) as u64;
            chunk.slice(from..to)
        });
        futures::future::ready(Some(piece))
    })
}

/// One chunk of a download; who waits for it waits a while for nodes that are away.
async fn fetch(
    files: Arc<Files>,
    key: Arc<DataKey>,
    file_id: FileId,
    locations: ChunkLocations,
) -> Result<Bytes, DownloadError> {
    let index = locations.index;
    let chunk = ChunkRef { file_id, index };
    let timeout = files.blobs.placement.patience;
    let read = read_chunk(&files.blobs, &key, chunk, &locations.replicas, timeout).await;
    read.map_err(|Unreadable| {
        files.metrics.unreadable_chunks.inc();
        tracing::error!(%file_id, index, "no replica can be read");
        DownloadError::Unreadable { index }
    })
}
