//! A user at a network: files in, files out.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use crate::config::ClientConfig;
use crate::core::Core;
use crate::download::{self, Place};
use crate::file_map::MappedKey;
use crate::layout::PIECE;
use crate::progress::Progress;
use crate::rest::Session;
use crate::upload::content::Sealed;
use crate::upload::journal::Journal;
use crate::upload::source::Source;
use crate::upload::{self, Stored, Target};
use crate::{Error, FileMap, OnProgress};

/// Stores and fetches, sealed: what leaves this machine nobody reads who has not the key. Clones are the same client, and
/// share its connections, limits and memory.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            core: Arc::new(Core::new(config)?),
        })
    }

    /// The user at the coordinator that is asked at the moment, a request a call, for what this client has no word of its
    /// own for.
    pub fn session(&self) -> &Session {
        self.core.coordinators.current()
    }

    /// What a request answers, at whichever coordinator, sooner or later. It may be repeated, and so has to mean the same
    /// however often it comes.
    pub async fn ask<T, F>(&self, request: impl Fn(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.core.coordinators.ask(request).await
    }

    /// Stores a file, sealed with a fresh key. A client with a root and a state directory goes on where an earlier one was
    /// interrupted.
    pub async fn store_file(&self, path: impl AsRef<Path>) -> Result<FileMap, Error> {
        self.store_file_telling(path, None).await
    }

    /// The same, telling how far it has come.
    pub async fn store_file_telling(
        &self,
        path: impl AsRef<Path>,
        tell: Option<OnProgress>,
    ) -> Result<FileMap, Error> {
        let path = path.as_ref();
        let source = Source::open(path)?;
        let journal = self.journal(&source, path, "")?;
        let map = self.store(source, journal, tell).await?;
        Ok(FileMap {
            original_path: path.to_string_lossy().into_owned(),
            ..map
        })
    }

    /// Where an upload is noted that is long enough to be taken up.
    pub(crate) fn journal(
        &self,
        source: &Source,
        path: &Path,
        target: &str,
    ) -> Result<Option<Journal>, Error> {
        match (&self.core.state_dir, &self.core.root) {
            (Some(dir), Some(root)) if source.size() > PIECE / 2 => {
                Journal::open(dir, root, path, target).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Stores bytes, sealed with a fresh key.
    pub async fn store_bytes(&self, data: impl Into<Bytes>) -> Result<FileMap, Error> {
        self.store(Source::Bytes(data.into()), None, None).await
    }

    async fn store(
        &self,
        source: Source,
        journal: Option<Journal>,
        tell: Option<OnProgress>,
    ) -> Result<FileMap, Error> {
        let size = source.size();
        // Nobody else needs to know what it is called here; the file map does.
        let name = format!("sealed-{}", self.core.idempotency_key());
        let describe = move |_: Option<&Sealed>| Ok(Target::File { name: name.clone() });
        let stored = upload::resumable(&self.core, source, (true, &describe), journal, tell);
        let (Stored { file, chunks }, sealed) = stored.await?;
        let file = file.ok_or_else(|| Error::unusable("no file was answered"))?;
        Ok(FileMap {
            chunks,
            size,
            original_path: String::new(),
            file_id: file.file_id,
            chunk_size: file.chunk_size_bytes,
            sealed: sealed.as_ref().map(MappedKey::of),
        })
    }

    /// Fetches a file. What stood at `output` stays until all is there.
    pub async fn get_file(&self, map: &FileMap, output: impl AsRef<Path>) -> Result<(), Error> {
        self.get_file_telling(map, output, None).await
    }

    /// The same, telling how far it has come.
    pub async fn get_file_telling(
        &self,
        map: &FileMap,
        output: impl AsRef<Path>,
        tell: Option<OnProgress>,
    ) -> Result<(), Error> {
        let progress = Progress::new(Some(map.size), tell);
        download::to_file(self.content(map)?, output.as_ref(), None, progress).await
    }

    /// Fetches all of a file into memory.
    pub async fn get_bytes(&self, map: &FileMap) -> Result<Bytes, Error> {
        self.content(map)?.bytes(0..map.size).await
    }

    /// A part of a file, in order, as it comes; what lies behind the end is left out.
    pub fn get_stream(
        &self,
        map: &FileMap,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
        let content = self.content(map)?;
        Ok(content.stream(clipped(&range, map.size), Progress::new(None, None)))
    }

    /// Reads into `buffer` from `offset` on; how much, which is less at the file's end alone.
    pub async fn read_at(
        &self,
        map: &FileMap,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let end = offset.saturating_add(buffer.len() as u64);
        let bytes = self
            .content(map)?
            .bytes(clipped(&(offset..end), map.size))
            .await?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn content(&self, map: &FileMap) -> Result<Arc<download::Content>, Error> {
        let place = Place::File(map.file_id);
        match &map.sealed {
            Some(key) => download::Content::sealed(&self.core, place, map.size, &key.sealed()?),
            None => {
                let chunks = Some((map.chunk_size, map.chunks.clone()));
                download::Content::plain(&self.core, place, map.size, chunks)
            }
        }
    }
}

pub(crate) fn clipped(range: &Range<u64>, size: u64) -> Range<u64> {
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}
