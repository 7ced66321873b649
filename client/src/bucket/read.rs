//! An object on its way back.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use sealing::end_to_end::Commitments;
use sealing::end_to_end::content::text_len;

use super::Bucket;
use super::list::Entry;
use super::put::{MODIFIED, STREAMED};
use crate::client::clipped;
use crate::download::{self, Content, Place};
use crate::progress::Progress;
use crate::{Error, OnProgress};

/// One version of an object, which may be read in parts. What is stored under its name meanwhile is not mixed into it.
#[derive(Clone)]
pub struct Reader {
    content: Arc<Content>,
    entry: Entry,
}

impl Bucket {
    /// What is known of an object.
    pub async fn head(&self, key: &str) -> Result<Entry, Error> {
        let (object, envelope) = self.entry(key).await?;
        let modified_ms = match &envelope {
            Some(envelope) => envelope.mtime_ms,
            None => object.metadata.get(MODIFIED).and_then(|ms| ms.parse().ok()),
        };
        let size = match envelope.is_some() {
            true => text_len(object.size_bytes).ok_or(Error::WrongContent)?,
            false => object.size_bytes,
        };
        let media_type = match envelope {
            Some(envelope) => envelope.media_type,
            None => Some(object.content_type.clone()),
        };
        Ok(Entry {
            key: key.to_owned(),
            size: Some(size),
            stored_at: Some(object.created_at),
            modified_ms,
            media_type,
            etag: object.etag,
        })
    }

    /// Opens an object: as it is now, whatever is stored under its name later.
    pub async fn open(&self, key: &str) -> Result<Reader, Error> {
        self.open_expecting(key, true).await
    }

    /// `from_start`: the beginning will be read.
    async fn open_expecting(&self, key: &str, from_start: bool) -> Result<Reader, Error> {
        let core = &self.client.core;
        let (object, envelope) = self.entry(key).await?;
        let place = Place::Object {
            bucket: self.name.clone(),
            key: object.key.clone(),
            version: object.version_id,
        };
        let modified_ms = match &envelope {
            Some(envelope) => envelope.mtime_ms,
            None => object.metadata.get(MODIFIED).and_then(|ms| ms.parse().ok()),
        };
        let content = match &envelope {
            None => Content::plain(core, place, object.size_bytes, None)?,
            Some(envelope) => {
                let Commitments::One(commitment) = &envelope.commit else {
                    return Err(Error::unusable(
                        "the object has several parts, which this version does not read: take a newer one",
                    ));
                };
                let text = text_len(object.size_bytes).ok_or(Error::WrongContent)?;
                if text != envelope.size && !envelope.meta.contains_key(STREAMED) {
                    return Err(Error::WrongContent);
                }
                let (key, stored) = (envelope.key(), object.size_bytes);
                Content::open_sealed(core, place, (&key, commitment), stored, from_start).await?
            }
        };
        let media_type = match envelope {
            Some(envelope) => envelope.media_type,
            None => Some(object.content_type),
        };
        Ok(Reader {
            entry: Entry {
                key: key.to_owned(),
                size: Some(content.layout.text),
                stored_at: Some(object.created_at),
                modified_ms,
                media_type,
                etag: object.etag,
            },
            content,
        })
    }

    /// Fetches an object into a file. What stood there stays until all is there.
    pub async fn get_file(
        &self,
        key: &str,
        path: impl AsRef<Path>,
        tell: Option<OnProgress>,
    ) -> Result<Entry, Error> {
        let reader = self.open(key).await?;
        reader.to_file(path, tell).await?;
        Ok(reader.entry)
    }

    /// Fetches an object into memory.
    pub async fn get_bytes(&self, key: &str) -> Result<Bytes, Error> {
        let reader = self.open(key).await?;
        let size = reader.content.layout.text;
        reader.content.bytes(0..size).await
    }

    /// Reads into `buffer` from `offset` on; how much, which is less at the end alone. Who reads often opens the object
    /// once, and asks its [`Reader`].
    pub async fn read_at(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let reader = self.open_expecting(key, offset == 0).await?;
        reader.read_at(offset, buffer).await
    }
}

impl Reader {
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// A part, in order, as it comes; what lies behind the end is left out.
    pub fn stream(
        &self,
        range: Range<u64>,
        tell: Option<OnProgress>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let range = clipped(&range, self.content.layout.text);
        let progress = Progress::new(Some(range.end - range.start), tell);
        Arc::clone(&self.content).stream(range, progress)
    }

    pub async fn to_file(
        &self,
        path: impl AsRef<Path>,
        tell: Option<OnProgress>,
    ) -> Result<(), Error> {
        let progress = Progress::new(Some(self.content.layout.text), tell);
        let content = Arc::clone(&self.content);
        download::to_file(content, path.as_ref(), self.entry.modified_ms, progress).await
    }

    pub async fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let end = offset.saturating_add(buffer.len() as u64);
        let range = clipped(&(offset..end), self.content.layout.text);
        let bytes = Arc::clone(&self.content).bytes(range).await?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}
