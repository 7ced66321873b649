//! Chunks of a file, fetched before their client asks for them. Each that is fetched ahead has a share of the memory;
//! the one that the client waits for does not have to, so that those who hold shares keep nobody from going on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{DownloadError, SealedFile};
use crate::blobs;
use crate::blobs::get::{StoredAs, Unreadable, read_chunk};
use crate::files::Files;
use crate::security;
use limits::memory::Holder;

use model::chunk::ChunkLocations;
use model::ids::FileId;
use sealing::ChunkRef;

/// Chunk locations that one query brings.
const LOCATIONS: u32 = 256;

pub(super) type Chunks = BoxStream<'static, Result<Bytes, DownloadError>>;

/// Where chunks come from.
pub(super) struct ReadAhead {
    pub files: Arc<Files>,
    pub file: SealedFile,
    /// What is wanted of the file.
    pub range: Range<u64>,
    pub holder: Holder,
}

impl ReadAhead {
    pub(super) fn window(&self) -> usize {
        self.files.downloads.window
    }

    /// What is wanted of these chunks, in order, so many on their way at a time.
    pub(super) fn chunks(&self, chunks: Range<u64>, window: usize) -> Chunks {
        let (files, file, range) = (
            Arc::clone(&self.files),
            self.file.clone(),
            self.range.clone(),
        );
        let (file_id, scheme) = (file.id, file.scheme);
        let (memory, holder) = (files.download_memory.clone(), self.holder);
        let under_way = UnderWay::default();
        locations(Arc::clone(&files), file.id, chunks)
            .and_then(move |locations| {
                let (memory, under_way) = (memory.clone(), under_way.clone());
                async move {
                    let chunk = ChunkRef {
                        file_id,
                        index: locations.index,
                    };
                    let stored = StoredAs {
                        chunk,
                        scheme,
                        size_bytes: locations.size_bytes,
                    };
                    let bytes = stored.reading_bytes();
                    let share = tokio::select! {
                        share = memory.reserve_for(holder, bytes) => Some(share),
                        () = under_way.none() => None,
                    };
                    Ok((locations, (share, under_way.begin())))
                }
            })
            .map_ok(move |(locations, share)| {
                let (files, file) = (Arc::clone(&files), file.clone());
                let chunk_size = u64::from(file.layout.chunk_size);
                let wanted = within(&range, u64::from(locations.index) * chunk_size);
                async move {
                    let fetched = async move { fetch(files, &file, locations, wanted).await };
                    let fetched = security::carried(fetched);
                    // It ends with the download that wanted it.
                    let task = AbortOnDropHandle::new(tokio::spawn(fetched));
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
            })
            .boxed()
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
            let page =
                AbortOnDropHandle::new(tokio::spawn(locate(files, file_id, first, count as u32)));
            let page = page
                .await
                .map_err(|error| DownloadError::Internal(error.to_string()))??;
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

/// One page. In a task of its own: nobody drives the stream while its client takes nothing, and then a connection to
/// the database, or a place in the line for one, would be kept from everybody.
async fn locate(
    files: Arc<Files>,
    file_id: FileId,
    first: u32,
    count: u32,
) -> sqlx::Result<Vec<ChunkLocations>> {
    let mut connection = files.db.acquire().await?;
    blobs::tables::chunks::locate(&mut connection, file_id, first, count).await
}

/// What of this range of a file lies in the chunk that begins here, or behind it.
pub(super) fn within(range: &Range<u64>, chunk_starts: u64) -> Range<u32> {
    let place = |at: u64| u32::try_from(at.saturating_sub(chunk_starts)).unwrap_or(u32::MAX);
    place(range.start)..place(range.end)
}

/// What is wanted of one chunk; who waits for it waits a while for nodes that are away.
pub(super) async fn fetch(
    files: Arc<Files>,
    file: &SealedFile,
    locations: ChunkLocations,
    wanted: Range<u32>,
) -> Result<Bytes, DownloadError> {
    let (file_id, index) = (file.id, locations.index);
    let stored = StoredAs {
        chunk: ChunkRef { file_id, index },
        scheme: file.scheme,
        size_bytes: locations.size_bytes,
    };
    let (key, timeout) = (&file.key, files.blobs.placement.patience);
    let replicas = &locations.replicas;
    let read = read_chunk(&files.blobs, key, stored, wanted, replicas, timeout).await;
    read.map_err(|Unreadable| {
        files.metrics.unreadable_chunks.inc();
        tracing::error!(%file_id, index, "no replica can be read");
        DownloadError::Unreadable { index }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_out_of_its_chunks() {
        // Chunks of 4 bytes, of which 2..7 are wanted.
        let cut = [0, 4, 8].map(|starts| within(&(2..7), starts));
        assert_eq!(cut, [2..7, 0..3, 0..0]);
    }
}
