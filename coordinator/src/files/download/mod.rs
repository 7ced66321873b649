//! Giving a file back: a window of chunks is fetched ahead (`read_ahead`), each from the node that is expected to
//! answer first, and passed on in order (`deliver`).
//!
//! Every byte is checked twice before it leaves ([`crate::blobs::get`]). When no replica of a
//! chunk is left the stream ends with an error, which cuts the connection: a file is never silently short.

mod deliver;
mod read_ahead;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use self::deliver::Delivery;
use self::read_ahead::ReadAhead;
use crate::blobs::crypto_pool::TaskLost;
use crate::files::{Files, tables};
use limits::memory::Holder;

use model::chunk::ChunkLocations;
use model::chunking::ChunkLayout;
use model::file::File;
use model::ids::{FileId, UserId};
use model::scheme::Scheme;
use sealing::DataKey;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("there is no such file")]
    NotFound,
    #[error("no replica of chunk {index} can be read now")]
    Unreadable { index: u32 },
    #[error("the client took nothing for too long")]
    Stalled,
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

impl ReadableFile {
    pub(super) fn sealed(self) -> SealedFile {
        SealedFile {
            id: self.file.id,
            layout: self.file.layout,
            scheme: self.file.scheme,
            key: self.key,
        }
    }
}

/// What it takes to read a file's chunks, whether it is visible yet or not.
#[derive(Debug, Clone)]
pub(super) struct SealedFile {
    pub(super) id: FileId,
    pub(super) layout: ChunkLayout,
    pub(super) scheme: Scheme,
    pub(super) key: Arc<DataKey>,
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

/// These chunks, whole and in order, for whoever wants no more than to look at them.
pub(super) fn read_back(
    files: &Arc<Files>,
    file: &SealedFile,
    chunks: Range<u64>,
    owner: UserId,
) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send + use<> {
    let source = ReadAhead {
        files: Arc::clone(files),
        file: file.clone(),
        range: 0..file.layout.size_bytes,
        holder: Holder {
            account: owner,
            address: Ipv4Addr::UNSPECIFIED.into(),
        },
    };
    source.chunks(chunks, source.window())
}

/// The bytes of a range, in order. The first chunk is there before this returns, so that a file that
/// cannot be read at all is an error and not a broken answer.
pub async fn read(
    files: Arc<Files>,
    mut file: ReadableFile,
    range: Range<u64>,
    holder: Holder,
) -> Result<Content<impl Stream<Item = Result<Bytes, DownloadError>> + Send + 'static>, DownloadError>
{
    if let Some(chunk) = file.only_chunk.take() {
        let wanted = read_ahead::within(&range, 0);
        let bytes = read_ahead::fetch(files, &file.sealed(), chunk, wanted).await?;
        return Ok(Content::Piece(bytes));
    }
    let (chunks, _) = file.file.layout.chunks_of(&range);
    let source = ReadAhead {
        file: file.sealed(),
        range,
        holder,
        files,
    };
    let mut ahead = source.chunks(chunks.clone(), source.window());
    let Some(first) = ahead.next().await else {
        return Err(DownloadError::NotFound); // a range that is asked for is not empty
    };
    let delivery = Delivery {
        first: first?,
        ahead,
        rest: chunks.start + 1..chunks.end,
        source,
    };
    Ok(Content::Pieces(delivery.start()))
}
