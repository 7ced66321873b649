//! Giving a file back: a window of chunks is fetched ahead, each from the node that is expected to
//! answer first, and passed on in order.
//!
//! Every byte is checked twice before it leaves, against the blob's name and the chunk's seal. A bad
//! or missing replica is reported and another one used; when none is left the stream ends with an
//! error, which cuts the connection: a file is never silently short.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt, TryStreamExt};
use network::CallError;
use proto::BlobId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::App;
use super::crypto_pool::TaskLost;
use super::fleet::ReadFailure;
use crate::db;
use crate::db::chunks::{ChunkLocations, ReplicaLocation, Suspicion};
use crate::db::files::File;
use crate::domain::ids::{FileId, UserId};
use crate::domain::sealing::{ChunkRef, DataKey, OpenError};

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
}

pub async fn open(app: &App, user: UserId, id: FileId) -> Result<ReadableFile, DownloadError> {
    let mut connection = app.db.acquire().await?;
    let (file, master_id, wrapped) = db::files::by_id_with_key(&mut connection, id, user)
        .await?
        .ok_or(DownloadError::NotFound)?;
    let master = app.keys.master_by_id(&master_id).ok_or_else(|| {
        DownloadError::Internal(format!(
            "master key {master_id} is not loaded: restart to load it"
        ))
    })?;
    let key = master
        .unwrap(id, &wrapped)
        .map_err(|error: OpenError| DownloadError::Internal(error.to_string()))?;
    Ok(ReadableFile {
        file,
        key: Arc::new(key),
    })
}

/// The bytes of a range, in order. The first chunk is there before this returns, so that a file that
/// cannot be read at all is an error and not a broken answer.
pub async fn read(
    app: Arc<App>,
    file: ReadableFile,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, DownloadError>> + Send + 'static, DownloadError> {
    let (chunks, skip) = file.file.layout.chunks_of(&range);
    let length = range.end - range.start;
    let (window, memory) = (app.config.downloads.window, app.download_memory.clone());
    let under_way = UnderWay::default();
    let ahead = locations(Arc::clone(&app), file.file.id, chunks)
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
            let (app, key, file_id) = (Arc::clone(&app), Arc::clone(&file.key), file.file.id);
            async move {
                let task = AbortOnDrop(tokio::spawn(fetch(app, key, file_id, locations)));
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
    app: Arc<App>,
    file_id: FileId,
    chunks: Range<u64>,
) -> impl Stream<Item = Result<ChunkLocations, DownloadError>> + Send {
    let pages = stream::try_unfold(chunks, move |rest| {
        let app = Arc::clone(&app);
        async move {
            if rest.is_empty() {
                return Ok::<_, DownloadError>(None);
            }
            let (first, count) = (
                rest.start as u32,
                (rest.end - rest.start).min(u64::from(LOCATIONS)),
            );
            let mut connection = app.db.acquire().await?;
            let page = db::chunks::locate(&mut connection, file_id, first, count as u32).await?;
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

/// One chunk, from whichever replica gives it first.
async fn fetch(
    app: Arc<App>,
    key: Arc<DataKey>,
    file_id: FileId,
    locations: ChunkLocations,
) -> Result<Bytes, DownloadError> {
    let chunk = ChunkRef {
        file_id,
        index: locations.index,
    };
    let deadline = Instant::now() + app.config.placement.patience;
    loop {
        match fetch_once(&app, &key, chunk, &locations.replicas).await {
            Ok(bytes) => return Ok(bytes),
            // Nodes come back within seconds, from a restart of theirs or of ours.
            Err(Failed::ForNow) if Instant::now() + ROUND_PAUSE < deadline => {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            Err(_) => {
                app.metrics.unreadable_chunks.inc();
                tracing::error!(%file_id, index = chunk.index, "no replica can be read");
                return Err(DownloadError::Unreadable { index: chunk.index });
            }
        }
    }
}

/// Between two rounds through the replicas of a chunk.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// Why a replica, or all of them, gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// Its node is away or busy.
    ForNow,
    /// It is missing or damaged.
    ForGood,
}

/// One round through the replicas of a chunk.
async fn fetch_once(
    app: &App,
    key: &Arc<DataKey>,
    chunk: ChunkRef,
    replicas: &[ReplicaLocation],
) -> Result<Bytes, Failed> {
    let mut untried = by_expected_time(app, replicas.to_vec());
    let mut running = FuturesUnordered::new();
    let mut failed = Failed::ForGood;
    loop {
        // Each turn asks one more: at first, after a failure, and when nobody has answered in time.
        if let Some(replica) = untried.pop() {
            running.push(fetch_replica(app, key, chunk, replica));
        }
        let hedge_at = Instant::now() + app.fleet.read_hedge_delay();
        tokio::select! {
            Some(outcome) = running.next() => match outcome {
                Ok(bytes) => return Ok(bytes),
                Err(Failed::ForNow) => failed = Failed::ForNow,
                Err(Failed::ForGood) => {}
            },
            () = tokio::time::sleep_until(hedge_at), if !untried.is_empty() => {}
            else => return Err(failed),
        }
    }
}

/// Best last: suspects before all, then nodes that are away or lag, then by expected time.
fn by_expected_time(app: &App, mut replicas: Vec<ReplicaLocation>) -> Vec<ReplicaLocation> {
    replicas.sort_by_cached_key(|replica| {
        let cost = app
            .fleet
            .member(replica.node_id)
            .filter(|member| member.is_online() && !member.is_lagging())
            .map_or(u64::MAX, |member| member.read_cost());
        Reverse((replica.suspect, cost))
    });
    replicas
}

/// A replica's plaintext, or its failure dealt with.
async fn fetch_replica(
    app: &App,
    key: &Arc<DataKey>,
    chunk: ChunkRef,
    replica: ReplicaLocation,
) -> Result<Bytes, Failed> {
    let suspect = |reason| {
        app.metrics.bad_replicas.inc();
        app.suspects.report(Suspicion {
            node_id: replica.node_id,
            blob_id: replica.blob_id,
            reason,
        });
    };
    let data = match app.fleet.retrieve(replica.node_id, replica.blob_id).await {
        Ok(data) => data,
        Err(failure) => {
            tracing::debug!(node_id = %replica.node_id, %failure, "a read failed");
            match failure {
                ReadFailure::Missing => suspect("missing"),
                ReadFailure::Corrupt => suspect("corrupt"),
                // The audit asks for the whole blob: whoever proves and then refuses is found out.
                ReadFailure::Later(_) | ReadFailure::Call(CallError::Timeout) => {
                    suspect("refused or timed out");
                    return Err(Failed::ForNow);
                }
                ReadFailure::Offline | ReadFailure::Call(_) => return Err(Failed::ForNow),
            }
            return Err(Failed::ForGood);
        }
    };
    let key = Arc::clone(key);
    let opened = app
        .crypto
        .run(move || open_blob(&key, chunk, replica.blob_id, data))
        .await;
    match opened {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(reason)) => {
            suspect(reason);
            Err(Failed::ForGood)
        }
        Err(TaskLost) => Err(Failed::ForNow),
    }
}

/// Checks the name, then the seal; the plaintext lies where the blob lay.
fn open_blob(
    key: &DataKey,
    chunk: ChunkRef,
    blob_id: BlobId,
    data: Bytes,
) -> Result<Bytes, &'static str> {
    if BlobId::of(&data) != blob_id {
        return Err("wrong bytes");
    }
    // The frame has no other owner any more, so this is no copy; if it has, a copy is right.
    let data = data
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    key.open(chunk, data).map_err(|OpenError| "not this chunk")
}

#[cfg(test)]
mod tests {
    use proto::{Message, RetrieveAnswer};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_chunk_is_opened_in_the_memory_that_its_frame_came_in() {
        let mut rng = StdRng::seed_from_u64(7);
        let key = DataKey::generate(&mut rng).unwrap();
        let chunk = ChunkRef {
            file_id: FileId::from_bytes([1; 16]),
            index: 0,
        };
        let text = Bytes::from(vec![7; 100_000]);
        let blob = key.seal(chunk, std::slice::from_ref(&text), &mut rng);
        let blob = blob.unwrap();
        let frame = RetrieveAnswer::Found(blob.data).into_frame().to_bytes();
        let received = BytesMut::from(&frame[..]).freeze();
        let memory = received.as_ptr_range();

        let RetrieveAnswer::Found(data) = RetrieveAnswer::from_bytes(received).unwrap() else {
            unreachable!("the frame has a blob")
        };
        let opened = open_blob(&key, chunk, blob.blob_id, data).unwrap();
        assert_eq!(opened, text);
        assert!(memory.contains(&opened.as_ptr()));
    }
}
