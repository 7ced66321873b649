//! A request body, chunk by chunk, each with its share of the memory for uploads.
//!
//! Whoever takes a chunk holds its share until the chunk lies on its nodes. When no share is free the body is not read,
//! and the client's socket waits.

use std::error::Error;

use bytes::Bytes;
use futures::Stream;

use crate::blobs::body::{ChunkBody, ChunkReader};
use crate::files::Files;
use crate::files::upload::UploadError;
use limits::memory::{Holder, MemoryShare};

pub(super) struct Source<'a, S> {
    files: &'a Files,
    holder: Holder,
    reader: ChunkReader<S>,
    pub chunk_size: u64,
}

pub(super) struct Taken {
    pub chunk: ChunkBody,
    pub share: MemoryShare,
}

impl Taken {
    pub(super) fn len(&self) -> u64 {
        self.chunk.len() as u64
    }
}

impl<'a, S, E> Source<'a, S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Error + 'static,
{
    pub(super) fn new(files: &'a Files, holder: Holder, chunk_size: u32, body: S) -> Self {
        Self {
            files,
            holder,
            reader: ChunkReader::new(body, chunk_size),
            chunk_size: chunk_size.into(),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Taken>, UploadError> {
        let mut share = self.files.upload_memory.arriving.open(self.holder);
        let chunk = self.reader.next_chunk(&mut share).await?;
        Ok(chunk.map(|chunk| Taken { chunk, share }))
    }

    pub(super) async fn has_ended(&mut self) -> Result<bool, UploadError> {
        Ok(!self.reader.has_more().await?)
    }
}
