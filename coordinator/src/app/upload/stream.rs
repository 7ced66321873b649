//! A whole file in one request. One that fits a chunk is acknowledged by itself ([`whole`]); for others
//! it is the same session as in steps, its chunks read from one body. A window of them
//! is on its way at a time; when nodes or memory are short, the client's socket waits.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use proto::MicroCredits;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::body::{ChunkBody, ChunkReader};
use super::chunk::{FileKey, store_chunk};
use super::session::{self, Begun, Manner, STREAMING_LEASE, UploadRequest};
use super::{InVain, Session, UploadError, end, put, whole};
use crate::app::App;
use crate::app::memory::MemoryShare;
use crate::db;
use crate::db::chunks::StoredChunk;
use crate::db::files::File;
use crate::db::uploads::UploadState;
use crate::domain::chunking::ChunkLayout;
use crate::domain::ids::UploadId;
use crate::domain::sealing::{ChunkRef, Place};

/// A body of unknown length first holds the price of this much, then of twice what it has become.
/// One chunk, as much as the trial allowance pays for.
const FIRST_HOLD_BYTES: u64 = 256 * 1024;

/// Stores a file, or leaves nothing behind: on any error the session is aborted.
///
/// Runs as a task of its own, so that a client that disappears ends the upload in an orderly way.
pub async fn upload<S, E>(
    app: Arc<App>,
    request: UploadRequest,
    body: S,
) -> Result<File, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let task = tokio::spawn(run(app, request, body));
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.to_string())))
}

async fn run<S, E>(app: Arc<App>, request: UploadRequest, body: S) -> Result<File, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::fmt::Display,
{
    let user = request.user_id;
    let mut source = Source::new(&app, body);
    let mut first = None;
    if request
        .size_bytes
        .is_none_or(|size| size <= source.chunk_size)
    {
        first = source.next().await?;
        if first.as_ref().map_or(0, Taken::len) < source.chunk_size || source.has_ended().await? {
            let (chunk, _share) = first.map_or_else(Default::default, |t| (t.chunk, t.share));
            check_length(&request, chunk.len() as u64)?;
            return whole::upload(&app, &request, chunk).await;
        }
    }
    let manner = Manner::Streaming {
        first_hold_bytes: FIRST_HOLD_BYTES,
    };
    let (session, key) = match session::begin(&app, &request, manner).await? {
        Begun::New(session, key) => (session, key),
        Begun::Before(upload) if upload.state == UploadState::Completed => {
            return end::complete(&app, user, upload.id).await;
        }
        Begun::Before(_) => return Err(UploadError::InProgress),
    };
    let id = session.upload_id;
    let renewal = AbortOnDropHandle::new(tokio::spawn(keep_alive(Arc::clone(&app), id)));
    let transfer = Transfer {
        app: &app,
        request: &request,
        held: session.cost,
        session,
        key,
        chunks: JoinSet::new(),
        stored: Vec::new(),
        in_vain: Vec::new(),
        bytes: 0,
    };
    let outcome = match transfer.run(first, source).await {
        Ok(()) => match end::complete(&app, user, id).await {
            // All were sent: a node has lost its copy since.
            Err(UploadError::ChunksMissing { count: chunks, .. }) => {
                Err(UploadError::CopiesLost { chunks })
            }
            completed => completed,
        },
        Err(error) => Err(error),
    };
    if outcome.is_err()
        && let Err(error) = end::abort(&app, user, id).await
    {
        tracing::warn!(upload_id = %id, %error, "a failed upload could not be aborted; it expires");
    }
    drop(renewal);
    outcome
}

/// Renews the lease of a session for as long as its request runs.
async fn keep_alive(app: Arc<App>, id: UploadId) {
    loop {
        tokio::time::sleep(STREAMING_LEASE / 5).await;
        let renew = async {
            let mut connection = app.db.acquire().await?;
            db::uploads::renew(&mut connection, id, STREAMING_LEASE).await
        };
        if let Err(error) = renew.await {
            tracing::warn!(upload_id = %id, %error, "an upload's lease could not be renewed yet");
        }
    }
}

/// A request body, chunk by chunk, each with its share of the memory for uploads.
struct Source<'a, S> {
    app: &'a App,
    reader: ChunkReader<S>,
    chunk_size: u64,
    /// What a chunk needs until it is stored: itself, and its sealed copies.
    memory: u64,
}

struct Taken {
    chunk: ChunkBody,
    share: Option<MemoryShare>,
}

impl Taken {
    fn len(&self) -> u64 {
        self.chunk.len() as u64
    }
}

impl<'a, S, E> Source<'a, S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    fn new(app: &'a App, body: S) -> Self {
        let chunk_size = app.config.uploads.chunk_size.as_u64();
        Self {
            app,
            reader: ChunkReader::new(body, chunk_size as u32),
            chunk_size,
            memory: chunk_size * u64::from(app.config.placement.replicas + 1),
        }
    }

    /// The share is held while the chunk is read: who is too slow for it must not keep others from
    /// theirs.
    async fn next(&mut self) -> Result<Option<Taken>, UploadError> {
        let share = self.app.upload_memory.reserve(self.memory).await;
        let patience = self.app.config.http.idle_timeout;
        let read = tokio::time::timeout(patience, self.reader.next_chunk());
        let chunk = read.await.map_err(|_| UploadError::TooSlow)??;
        Ok(chunk.map(|chunk| Taken { chunk, share }))
    }

    async fn has_ended(&mut self) -> Result<bool, UploadError> {
        let patience = self.app.config.http.idle_timeout;
        let read = tokio::time::timeout(patience, self.reader.has_more());
        Ok(!read.await.map_err(|_| UploadError::TooSlow)??)
    }
}

fn check_length(request: &UploadRequest, received: u64) -> Result<(), UploadError> {
    match request.size_bytes {
        Some(announced) if announced != received => Err(UploadError::Internal(format!(
            "{announced} bytes were announced and {received} came"
        ))),
        _ => Ok(()),
    }
}

struct Transfer<'a> {
    app: &'a Arc<App>,
    request: &'a UploadRequest,
    session: Session,
    key: Arc<FileKey>,
    held: MicroCredits,
    chunks: JoinSet<Result<Stored, UploadError>>,
    /// On nodes, and not in rows yet. Nobody waits for one chunk of a streaming request, so that
    /// many share a transaction.
    stored: Vec<StoredChunk>,
    in_vain: InVain,
    bytes: u64,
}

/// A chunk that has its receipts, and what was sent in vain for it.
type Stored = (StoredChunk, InVain);

/// Chunks that are written together.
const GROUP: usize = 64;

impl Transfer<'_> {
    /// On an error the chunks that are on their way are still waited for: what they leave on nodes
    /// has rows then, and is purged with the session.
    async fn run<S, E>(
        mut self,
        first: Option<Taken>,
        source: Source<'_, S>,
    ) -> Result<(), UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let outcome = self.send_all(first, source).await;
        while let Some(ended) = self.chunks.join_next().await {
            if let Ok(Ok(stored)) = ended {
                self.keep(stored);
            }
        }
        let committed = self.commit().await;
        outcome.and(committed)
    }

    async fn send_all<S, E>(
        &mut self,
        mut first: Option<Taken>,
        mut source: Source<'_, S>,
    ) -> Result<(), UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let limit_bytes = session::max_file_size(self.app, self.session.chunk_size);
        for index in 0.. {
            while self.chunks.len() >= self.app.config.uploads.window {
                self.join_one().await?;
            }
            let taken = match first.take() {
                Some(first) => Some(first),
                None => source.next().await?,
            };
            let Some(Taken { chunk, share }) = taken else {
                break;
            };
            self.bytes += chunk.len() as u64;
            if self.bytes > limit_bytes {
                return Err(UploadError::TooLarge { limit_bytes });
            }
            self.hold_enough().await?;
            let work = store(
                Arc::clone(self.app),
                self.session.clone(),
                Arc::clone(&self.key),
                index,
                chunk,
            );
            self.chunks.spawn(async move {
                let outcome = work.await;
                drop(share);
                outcome
            });
        }
        while !self.chunks.is_empty() {
            self.join_one().await?;
        }
        self.settle_length().await
    }

    async fn join_one(&mut self) -> Result<(), UploadError> {
        match self.chunks.join_next().await {
            Some(Ok(stored)) => self.keep(stored?),
            Some(Err(error)) => return Err(UploadError::Internal(error.to_string())),
            None => {}
        }
        if self.stored.len() >= GROUP {
            self.commit().await?;
        }
        Ok(())
    }

    fn keep(&mut self, (chunk, mut in_vain): Stored) {
        self.stored.push(chunk);
        self.in_vain.append(&mut in_vain);
    }

    async fn commit(&mut self) -> Result<(), UploadError> {
        if self.stored.is_empty() {
            return Ok(());
        }
        let (chunks, in_vain) = (
            std::mem::take(&mut self.stored),
            std::mem::take(&mut self.in_vain),
        );
        let committer = &self.app.committer;
        committer
            .commit(self.session.upload_id, chunks, in_vain)
            .await?;
        Ok(())
    }

    /// A body of unknown length holds credits step by step: twice what it needs, or, where the
    /// account does not have that, what it needs.
    async fn hold_enough(&mut self) -> Result<(), UploadError> {
        if self.request.size_bytes.is_some() {
            return Ok(());
        }
        let price = self.app.config.money.price_per_gb_month;
        let needed = price.first_month(self.bytes, self.key.replication)?;
        if needed <= self.held {
            return Ok(());
        }
        let generous = price.first_month(self.bytes.saturating_mul(2), self.key.replication)?;
        match self.hold(generous).await {
            Err(UploadError::PaymentRequired { .. }) => self.hold(needed).await,
            outcome => outcome,
        }
    }

    async fn hold(&mut self, target: MicroCredits) -> Result<(), UploadError> {
        let (id, user) = (self.session.upload_id, self.request.user_id);
        let mut transaction = self.app.db.begin().await?;
        db::uploads::lock(&mut transaction, id, user)
            .await?
            .ok_or(UploadError::NotFound)?;
        session::hold(&mut transaction, id, user, self.held, target).await?;
        db::uploads::raise_hold(&mut transaction, id, target).await?;
        transaction.commit().await?;
        self.held = target;
        Ok(())
    }

    /// What was announced has to be what came; what was not announced is known now.
    async fn settle_length(&mut self) -> Result<(), UploadError> {
        check_length(self.request, self.bytes)?;
        if self.request.size_bytes.is_some() {
            return Ok(());
        }
        let mut connection = self.app.db.acquire().await?;
        let layout = ChunkLayout::new(self.bytes, self.session.chunk_size);
        db::files::set_layout(&mut connection, self.session.file_id, layout).await?;
        Ok(())
    }
}

async fn store(
    app: Arc<App>,
    session: Session,
    key: Arc<FileKey>,
    index: u32,
    body: ChunkBody,
) -> Result<Stored, UploadError> {
    let place = Place {
        chunk: ChunkRef {
            file_id: session.file_id,
            index,
        },
        version: app.versions.next(),
    };
    let size_bytes = body.len() as u32;
    let receipts = match store_chunk(&app, &key, place, body).await {
        Ok(receipts) => receipts,
        Err((error, in_vain)) => {
            put::purge_in_vain(&app, &in_vain).await;
            return Err(error.into());
        }
    };
    let stored = StoredChunk {
        file_id: session.file_id,
        index,
        version: place.version,
        size_bytes,
        sha256: None,
        replicas: receipts.replicas,
    };
    Ok((stored, receipts.in_vain))
}
