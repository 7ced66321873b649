//! A whole file in one request. One that fits a chunk is acknowledged by itself (`single_chunk`); for others
//! it is the same session as in steps, its chunks read from one body. A window of them
//! is on its way at a time; when nodes or memory are short, the client's socket waits.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use proto::MicroCredits;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::blobs::body::ChunkBody;
use crate::blobs::put::FileKey;
use crate::files::upload::chunk_commit::{ChunkCommit, CommitError, SentChunk};
use crate::files::upload::content_hash::RunningHash;
use crate::files::upload::session::{Begun, Mode, STREAMING_LEASE};
use crate::files::upload::source::{Source, Taken};
use crate::files::upload::{
    Session, UploadError, allowance, complete, send, session, single_chunk,
};
use crate::files::{Files, tables};
use crate::security;
use anyhow::anyhow;
use limits::memory::Holder;
use model::upload::UploadRequest;

use model::chunking::ChunkLayout;
use model::file::File;
use model::ids::{UploadId, UserId};
use model::terms::Terms;
use model::upload::UploadState;
use rules::file_meter::Priced;
use sealing::{ChunkRef, ChunkVersion};

/// A body of unknown length first holds the price of this much, then of twice what it has become.
/// One chunk, as much as the trial allowance pays for.
const FIRST_HOLD_BYTES: u64 = 256 * 1024;

/// What a body of unknown length is taken to be at least, before it is read.
const LEAST_BYTES: u64 = 1;

/// Stores a file, or leaves nothing behind: on any error the session is aborted.
///
/// Runs as a task of its own, so that a client that disappears ends the upload in an orderly way.
pub async fn upload<S, E>(
    files: Arc<Files>,
    request: UploadRequest,
    holder: Holder,
    body: S,
) -> Result<File, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let task = tokio::spawn(security::carried(run(files, request, holder, body)));
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.into())))
}

/// Whether an account could store anything at all: asked before a form is searched for its file.
pub async fn check_allowance(files: &Files, user: UserId) -> Result<(), UploadError> {
    let least = files.billing.least_priced(files.blobs.copies());
    allowance::check(files, user, least.month()?).await
}

async fn run<S, E>(
    files: Arc<Files>,
    request: UploadRequest,
    holder: Holder,
    body: S,
) -> Result<File, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + 'static,
{
    let user = request.user_id;
    let scheme = session::scheme(&files, &request)?;
    let mut source = Source::new(&files, holder, session::chunk_size(&files, scheme), body);
    let mut first = None;
    if request
        .size_bytes
        .is_none_or(|size| size <= source.chunk_size)
    {
        // Who cannot pay for it holds nothing. (Longer ones pay when their session begins.)
        if !session::is_repeated(&files, &request).await? {
            let least_bytes = request.size_bytes.unwrap_or(LEAST_BYTES);
            let priced = files
                .billing
                .priced(request.terms(least_bytes), least_bytes, scheme);
            allowance::check(&files, user, priced.month()?).await?;
        }
        first = source.next().await?;
        if first.as_ref().map_or(0, Taken::len) < source.chunk_size || source.has_ended().await? {
            let (chunk, _share) = first.map_or_else(Default::default, |t| (t.chunk, Some(t.share)));
            check_length(&request, chunk.len() as u64)?;
            let chunk_size = source.chunk_size as u32;
            return single_chunk::upload(&files, &request, holder, chunk, chunk_size).await;
        }
    }
    let mode = Mode::Streaming {
        first_hold_bytes: FIRST_HOLD_BYTES,
    };
    let (session, key) = match session::begin(&files, &request, mode, scheme).await? {
        Begun::New(session, key) => (session, key),
        Begun::Before(upload) if upload.state == UploadState::Completed => {
            let stored = session::file_of(&files, &upload).await?;
            return repeated(&files, &request, stored, first, source).await;
        }
        Begun::Before(_) => return Err(UploadError::InProgress),
    };
    let id = session.upload_id;
    let renewal = AbortOnDropHandle::new(tokio::spawn(keep_alive(Arc::clone(&files), id)));
    let transfer = Transfer {
        files: &files,
        request: &request,
        holder,
        held: session.cost,
        session,
        key,
        chunks: JoinSet::new(),
        stored: Vec::new(),
        bytes: 0,
        hash: RunningHash::new(&files, request.declared),
    };
    let outcome = match transfer.run(first, source).await {
        Ok(()) => match complete::complete(&files, user, id, None, request.target.as_deref()).await
        {
            // All were sent: a node has lost its copy since.
            Err(UploadError::ChunksMissing { count: chunks, .. }) => {
                Err(UploadError::CopiesLost { chunks })
            }
            completed => completed,
        },
        Err(error) => Err(error),
    };
    if outcome.is_err()
        && let Err(error) = complete::abort(&files, user, id).await
    {
        tracing::warn!(upload_id = %id, %error, "a failed upload could not be aborted; it expires");
    }
    drop(renewal);
    outcome
}

/// A request under an `Idempotency-Key` that has stored a file: its body is read, and kept nowhere, to see whether it is
/// that file's.
async fn repeated<S, E>(
    files: &Arc<Files>,
    request: &UploadRequest,
    stored: File,
    mut first: Option<Taken>,
    mut source: Source<'_, S>,
) -> Result<File, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + 'static,
{
    let mut hash = RunningHash::new(files, request.declared);
    let mut bytes = 0;
    loop {
        let taken = match first.take() {
            Some(first) => Some(first),
            None => source.next().await?,
        };
        let Some(taken) = taken else { break };
        bytes += taken.len();
        if bytes > stored.layout.size_bytes {
            return Err(UploadError::KeyReused);
        }
        hash.add(taken.chunk).await?;
    }
    hash.finish().await?.repeats(stored)
}

/// Renews the lease of a session for as long as its request runs.
async fn keep_alive(files: Arc<Files>, id: UploadId) {
    loop {
        tokio::time::sleep(STREAMING_LEASE / 5).await;
        let renew = async {
            let mut connection = files.db.acquire().await?;
            tables::uploads::renew(&mut connection, id, STREAMING_LEASE).await
        };
        if let Err(error) = renew.await {
            tracing::warn!(upload_id = %id, %error, "an upload's lease could not be renewed yet");
        }
    }
}

fn check_length(request: &UploadRequest, received: u64) -> Result<(), UploadError> {
    match request.size_bytes {
        Some(announced) if announced != received => Err(UploadError::Internal(anyhow!(
            "{announced} bytes were announced and {received} came"
        ))),
        _ => Ok(()),
    }
}

struct Transfer<'a> {
    files: &'a Arc<Files>,
    request: &'a UploadRequest,
    holder: Holder,
    session: Session,
    key: Arc<FileKey>,
    held: MicroCredits,
    chunks: JoinSet<Result<SentChunk, UploadError>>,
    /// On nodes, and not in rows yet. Nobody waits for one chunk of a streaming request, so that
    /// many share a transaction.
    stored: Vec<SentChunk>,
    bytes: u64,
    hash: RunningHash,
}

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
        E: std::error::Error + 'static,
    {
        let outcome = self.send_all(first, source).await;
        while let Some(ended) = self.chunks.join_next().await {
            if let Ok(Ok(sent)) = ended {
                self.stored.push(sent);
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
        E: std::error::Error + 'static,
    {
        let limit_bytes = session::max_file_size(self.files, self.session.chunk_size);
        for index in 0.. {
            while self.chunks.len() >= self.files.uploads.window {
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
            self.hash.add(chunk.clone()).await?;
            let work = store(
                Arc::clone(self.files),
                self.session.clone(),
                Arc::clone(&self.key),
                self.holder,
                index,
                chunk,
            );
            self.chunks.spawn(security::carried(async move {
                let outcome = work.await;
                drop(share);
                outcome
            }));
        }
        while !self.chunks.is_empty() {
            self.join_one().await?;
        }
        self.settle_content().await
    }

    async fn join_one(&mut self) -> Result<(), UploadError> {
        match self.chunks.join_next().await {
            Some(Ok(sent)) => self.stored.push(sent?),
            Some(Err(error)) => return Err(UploadError::Internal(error.into())),
            None => {}
        }
        if self.stored.len() >= GROUP {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), UploadError> {
        if self.stored.is_empty() {
            return Ok(());
        }
        let commit = ChunkCommit {
            upload_id: self.session.upload_id,
            chunks: std::mem::take(&mut self.stored),
        };
        let committed = self.files.chunk_commits.submit(commit).await;
        committed.map_err(CommitError::from)??;
        Ok(())
    }

    /// A body of unknown length holds credits step by step: twice what it needs, or, where the
    /// account does not have that, what it needs.
    async fn hold_enough(&mut self) -> Result<(), UploadError> {
        if self.request.size_bytes.is_some() {
            return Ok(());
        }
        let priced = |size_bytes| Priced {
            size_bytes,
            terms: self.terms(size_bytes),
            scheme: self.key.scheme,
            price: self.files.billing.money.price_per_gb_month,
        };
        let needed = priced(self.bytes).month()?;
        if needed <= self.held {
            return Ok(());
        }
        let generous = priced(self.bytes.saturating_mul(2)).month()?;
        match self.hold(generous).await {
            Err(UploadError::PaymentRequired { .. }) => self.hold(needed).await,
            outcome => outcome,
        }
    }

    async fn hold(&mut self, target: MicroCredits) -> Result<(), UploadError> {
        let (id, user) = (self.session.upload_id, self.request.user_id);
        session::raise_hold(self.files, id, user, self.held, target).await?;
        self.held = target;
        Ok(())
    }

    /// What was announced and declared has to be what came; what was not is known now.
    async fn settle_content(&mut self) -> Result<(), UploadError> {
        check_length(self.request, self.bytes)?;
        let content = self.hash.finish().await?;
        let mut connection = self.files.db.acquire().await?;
        let layout = ChunkLayout::new(self.bytes, self.session.chunk_size);
        let (id, terms) = (self.session.file_id, self.terms(self.bytes));
        tables::files::set_content(&mut connection, id, layout, terms, &content.sha256).await?;
        Ok(())
    }

    /// What of an object is billed beside its bytes is a matter of how many these are.
    fn terms(&self, size_bytes: u64) -> Terms {
        match self.session.terms {
            Terms::Content => Terms::Content,
            Terms::ContentAndName { .. } => self.request.terms(size_bytes),
        }
    }
}

async fn store(
    files: Arc<Files>,
    session: Session,
    key: Arc<FileKey>,
    holder: Holder,
    index: u32,
    body: ChunkBody,
) -> Result<SentChunk, UploadError> {
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: session.file_id,
            index,
        },
        version: files.blobs.versions.next(),
    };
    let sha256 = send::digest(&files, &body);
    send::chunk(&files, &key, holder, place, body.clone(), sha256).await
}
