//! The second step, many chunks at a time: they come one behind the other in one body, and the session is looked up
//! once for all of them. What is said of a chunk that is sent alone ([`super::put`]) holds for each of these.
//!
//! Of a body that breaks off, or has a wrong end, the chunks that came whole stay: what was sent once need not be sent
//! again. So there is no digest of the whole body to be checked; the answer has that of each chunk.

use std::error::Error;
use std::sync::Arc;

use api::uploads::MAX_CHUNKS_IN_A_BODY;
use bytes::Bytes;
use futures::Stream;
use tokio::task::{JoinError, JoinSet};

use crate::blobs::put::FileKey;
use crate::files::Files;
use crate::files::upload::source::{Source, Taken};
use crate::files::upload::{AcceptedChunk, Received, UploadError, put};
use crate::security;
use limits::memory::Holder;
use model::chunking::{ChunkLayout, MAX_CHUNKS};
use model::file::UploadingFile;
use model::ids::UploadId;
use model::upload::Upload;

/// Takes chunks of an open session from `first` on; the digest of each, in order.
///
/// Runs as a task of its own, so that a client that disappears leaves chunks that are known or purged.
pub async fn put_chunks<S, E>(
    files: Arc<Files>,
    holder: Holder,
    id: UploadId,
    first: u32,
    body: S,
) -> Result<Vec<[u8; 32]>, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Error + Send + 'static,
{
    let task = tokio::spawn(security::carried(run(files, holder, id, first, body)));
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.into())))
}

async fn run<S, E>(
    files: Arc<Files>,
    holder: Holder,
    id: UploadId,
    first: u32,
    body: S,
) -> Result<Vec<[u8; 32]>, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Error + Send + 'static,
{
    let (upload, file, key) = put::open_session(&files, holder.account, id).await?;
    let out_of_range = |chunk_count| UploadError::IndexOutOfRange {
        index: first,
        chunk_count,
    };
    // A streaming request brings its chunks itself.
    let layout = file.layout().ok_or(out_of_range(MAX_CHUNKS))?;
    expected(&layout, first)?;
    let source = Source::new(&files, holder, file.chunk_size, body);
    let mut range = Range {
        files: &files,
        holder,
        upload: Arc::new(upload),
        file,
        key,
        layout,
        first,
        on_their_way: JoinSet::new(),
        sha256: Vec::new(),
    };
    let mut outcome = range.take_all(source).await;
    // Those that are on their way are waited for, whatever has happened to the others.
    while let Some(ended) = range.on_their_way.join_next().await {
        outcome = outcome.and(range.enter(ended));
    }
    outcome.map(|()| range.sha256)
}

fn expected(layout: &ChunkLayout, index: u32) -> Result<u32, UploadError> {
    let chunk_count = layout.chunk_count();
    let expected = layout.chunk_len(index.into());
    expected.ok_or(UploadError::IndexOutOfRange { index, chunk_count })
}

struct Range<'a> {
    files: &'a Arc<Files>,
    holder: Holder,
    upload: Arc<Upload>,
    file: UploadingFile,
    key: Arc<FileKey>,
    layout: ChunkLayout,
    first: u32,
    on_their_way: JoinSet<Result<AcceptedChunk, UploadError>>,
    /// By index, from `first` on; bounded by what a body may bring.
    sha256: Vec<[u8; 32]>,
}

impl Range<'_> {
    async fn take_all<S, E>(&mut self, mut source: Source<'_, S>) -> Result<(), UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Error + 'static,
    {
        let mut index = self.first;
        while let Some(taken) = source.next().await? {
            if index - self.first >= MAX_CHUNKS_IN_A_BODY {
                return Err(UploadError::TooManyAtOnce {
                    limit: MAX_CHUNKS_IN_A_BODY,
                    next: index,
                });
            }
            self.check_length(index, taken.len())?;
            while self.on_their_way.len() >= self.files.uploads.window {
                if let Some(ended) = self.on_their_way.join_next().await {
                    self.enter(ended)?;
                }
            }
            self.send(index, taken);
            index += 1; // below the count of chunks, which is one of u32
        }
        match index == self.first {
            true => self.check_length(index, 0),
            false => Ok(()),
        }
    }

    fn check_length(&self, index: u32, length: u64) -> Result<(), UploadError> {
        let expected = expected(&self.layout, index)?;
        let received = match length {
            length if length == u64::from(expected) => return Ok(()),
            length if length > u64::from(expected) => Received::MoreThan(expected as usize),
            length => Received::Exactly(length as usize),
        };
        Err(UploadError::WrongLength {
            index,
            expected,
            received,
        })
    }

    fn send(&mut self, index: u32, taken: Taken) {
        let Taken { chunk, share } = taken;
        self.sha256.push([0; 32]);
        let accept = put::accept(
            Arc::clone(self.files),
            Arc::clone(&self.upload),
            self.file.clone(),
            Arc::clone(&self.key),
            self.holder,
            index,
            chunk,
        );
        self.on_their_way.spawn(security::carried(async move {
            let accepted = accept.await;
            drop(share);
            accepted
        }));
    }

    fn enter(
        &mut self,
        ended: Result<Result<AcceptedChunk, UploadError>, JoinError>,
    ) -> Result<(), UploadError> {
        let accepted = ended.map_err(|error| UploadError::Internal(error.into()))??;
        let place = (accepted.index - self.first) as usize;
        if let Some(sha256) = self.sha256.get_mut(place) {
            *sha256 = accepted.sha256;
        }
        Ok(())
    }
}
