//! Content on its way to a coordinator: in one request where it is short, else as a session whose pieces go several at a
//! time and can be taken up again.
//!
//! What was sent is not sealed again: sealed once more it would be other bytes, which an upload takes only so often and
//! charges for. So a piece is made once and repeated as it is, and whoever takes an upload up sends what the coordinator
//! lacks and nothing else.

pub(crate) mod content;
pub(crate) mod journal;
mod missing;
pub(crate) mod source;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use api::buckets::ObjectTarget;
use api::files::File;
use api::problem::ProblemKind;
use api::uploads::{InitiateBody, Initiated, UploadStatus};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use proto::UploadId;
use reqwest::Body;
use sealing::end_to_end::content::SEGMENT_LEN;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::content::{Content, Sealed};
use self::journal::Journal;
use self::missing::{Missing, runs};
use self::source::Source;
use crate::core::Core;
use crate::layout::PIECE;
use crate::pace::MOST;
use crate::progress::Progress;
use crate::rest::{ApiError, Session};
use crate::{Error, OnProgress};

/// Times that chunks which lost a copy meanwhile are sent again.
const MOST_ROUNDS: usize = 8;

/// Of the stored chunks, in hex.
type Digests = Mutex<BTreeMap<u32, String>>;

fn note(digests: &Digests, told: impl Iterator<Item = (u32, String)>) {
    let mut known = digests.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(told);
}

pub(crate) struct Upload {
    pub core: Arc<Core>,
    pub content: Arc<Content>,
    pub target: Target,
    /// Under which it is done once.
    pub idempotency_key: String,
    pub progress: Progress,
    /// Taken up from an earlier run: some of it may be there.
    pub is_resumed: bool,
}

/// What becomes of the bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A file of this name.
    File { name: String },
    /// An object. Its envelope is sealed: nothing here is a secret.
    Object {
        bucket: String,
        target: Box<ObjectTarget>,
    },
}

/// A file, and the SHA-256 of each of its stored chunks. Of an object that went in one request neither is told.
pub(crate) struct Stored {
    pub file: Option<File>,
    pub chunks: Vec<String>,
}

impl Upload {
    pub(crate) async fn run(self) -> Result<Stored, Error> {
        match self.content.layout.stored <= PIECE {
            true => self.at_once().await,
            false => self.in_pieces().await,
        }
    }

    async fn at_once(self) -> Result<Stored, Error> {
        let size = self.content.layout.stored;
        let _room = self.core.room(size).await?;
        let bytes = self.content.piece(0..size, &self.core.entropy).await?;
        self.content.source.check()?;
        let send = |session: Session| {
            let (body, watch) = self.core.body(bytes.clone());
            let this = &self;
            async move { watch.over(this.in_one_request(session, size, body)).await }
        };
        let file = self.core.ask_in_turn(send).await?;
        self.progress.add(self.content.layout.text);
        let chunk_size = file
            .as_ref()
            .map(|file| file.chunk_size_bytes.max(1) as usize);
        let chunks = chunk_size.map(|chunk_size| bytes.chunks(chunk_size));
        let digests = chunks.into_iter().flatten();
        Ok(Stored {
            chunks: digests
                .map(|chunk| hex::encode(Sha256::digest(chunk)))
                .collect(),
            file,
        })
    }

    async fn in_one_request(
        &self,
        session: Session,
        size: u64,
        body: Body,
    ) -> Result<Option<File>, ApiError> {
        match &self.target {
            Target::File { name } => {
                let name = (name.as_str(), self.idempotency_key.as_str());
                session.upload_once(name, size, body).await.map(Some)
            }
            Target::Object { bucket, target } => {
                session.put_object(bucket, target, Some(size), body).await?;
                Ok(None)
            }
        }
    }

    async fn in_pieces(self) -> Result<Stored, Error> {
        let begun = self.begin().await?;
        let count = u32::try_from(begun.chunk_count).unwrap_or(u32::MAX);
        let digests = Digests::default();
        let mut missing = Missing::all(count);
        if self.is_resumed {
            missing = self.look(&begun, &digests).await?;
            let there = u64::from(count) - missing.count;
            let there = (there * u64::from(begun.chunk_size_bytes)).min(self.content.layout.text);
            self.progress.add(there);
        }
        let mut rounds = 0;
        loop {
            let sent = self.send(&begun, &missing, &digests).await;
            let sent = sent.and_then(|()| self.content.source.check());
            if let Err(error @ Error::SourceChanged(_)) = sent {
                self.abort(begun.upload_id).await;
                return Err(error);
            }
            sent?;
            let id = begun.upload_id;
            let complete = |session: Session| {
                let watch = self.core.watch();
                async move { watch.over(session.complete(id)).await }
            };
            match self.core.coordinators.ask(complete).await {
                Ok(file) => {
                    let digests = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
                    let chunks = digests.into_values().collect();
                    let file = Some(file);
                    return Ok(Stored { file, chunks });
                }
                Err(error) if error.kind() == Some(ProblemKind::ChunksMissing) => {
                    let before = missing.count;
                    missing = self.look(&begun, &digests).await?;
                    rounds += usize::from(missing.count >= before);
                    if rounds > MOST_ROUNDS {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn begin(&self) -> Result<Initiated, Error> {
        let (filename, target) = match &self.target {
            Target::File { name } => (name.clone(), None),
            Target::Object { bucket, target } => {
                let bucket = Some(bucket.clone());
                let target = ObjectTarget::clone(target);
                (String::new(), Some(ObjectTarget { bucket, ..target }))
            }
        };
        let body = InitiateBody {
            filename,
            size_bytes: self.content.layout.stored,
            content_type: target
                .as_ref()
                .and_then(|target| target.content_type.clone()),
            target,
        };
        let begin = |session: Session| {
            let (body, watch) = (&body, self.core.watch());
            async move {
                let begin = session.initiate_once(&self.idempotency_key, body);
                watch.over(begin).await
            }
        };
        self.core.coordinators.ask(begin).await
    }

    async fn status(&self, id: UploadId, from: u32) -> Result<UploadStatus, Error> {
        let ask = |session: Session| {
            let watch = self.core.watch();
            async move { watch.over(session.upload_status_from(id, from)).await }
        };
        self.core.coordinators.ask(ask).await
    }

    /// What the coordinator lacks; and the digests of what it has.
    async fn look(&self, begun: &Initiated, digests: &Digests) -> Result<Missing, Error> {
        let count = u32::try_from(begun.chunk_count).unwrap_or(u32::MAX);
        let mut status = self.status(begun.upload_id, 0).await?;
        let missing = Missing::of(&status, count);
        loop {
            let last = status.chunks.last().map(|chunk| chunk.index);
            let told = status.chunks.drain(..);
            note(
                digests,
                told.filter_map(|chunk| Some((chunk.index, chunk.sha256?))),
            );
            match last.and_then(|last| last.checked_add(1)) {
                Some(next) if next < count => {
                    status = self.status(begun.upload_id, next).await?;
                }
                _ => return Ok(missing),
            }
        }
    }

    async fn send(
        &self,
        begun: &Initiated,
        missing: &Missing,
        digests: &Digests,
    ) -> Result<(), Error> {
        let chunk = u64::from(begun.chunk_size_bytes).max(1);
        if self.content.sealed.is_some() && !chunk.is_multiple_of(SEGMENT_LEN as u64) {
            return Err(Error::unusable(format!(
                "the network cuts files into chunks of {chunk} bytes, and what is sealed needs a multiple of {SEGMENT_LEN}"
            )));
        }
        let most = (PIECE / chunk).clamp(1, u32::MAX.into()) as u32;
        let pieces = missing.ranges.iter().flat_map(|range| runs(range, most));
        let sent = stream::iter(pieces).map(|run| self.send_piece(begun, run));
        sent.buffer_unordered(MOST)
            .try_for_each(async |sent| {
                note(digests, (sent.first..).zip(sent.sha256));
                Ok(())
            })
            .await
    }

    async fn send_piece(
        &self,
        begun: &Initiated,
        run: Range<u32>,
    ) -> Result<api::uploads::Chunks, Error> {
        let chunk = u64::from(begun.chunk_size_bytes).max(1);
        let stored = self.content.layout.stored;
        let at = |index: u32| (u64::from(index) * chunk).min(stored);
        let range = at(run.start)..at(run.end);
        let _room = self.core.room(range.end - range.start).await?;
        let text = self.content.layout.text_of(&range);
        let bytes: Bytes = self.content.piece(range, &self.core.entropy).await?;
        let (id, size) = (begun.upload_id, bytes.len() as u64);
        let send = |session: Session| {
            let (body, watch) = self.core.body(bytes.clone());
            let first = run.start;
            async move { watch.over(session.send_chunks(id, first, size, body)).await }
        };
        let sent = self.core.ask_in_turn(send).await?;
        self.progress.add(text.end - text.start);
        Ok(sent)
    }

    /// Gives the session up, if the coordinator can be told; it expires otherwise.
    async fn abort(&self, id: UploadId) {
        let session = self.core.coordinators.current();
        let watch = self.core.watch();
        let _ = watch.over(session.abort(id)).await;
    }
}

/// Says what the bytes are to become, sealed with this.
pub(crate) type Describe<'a> = &'a (dyn Fn(Option<&Sealed>) -> Result<Target, Error> + Sync);

/// Stores content that is the same however often it is read, and takes up what an earlier run has begun.
pub(crate) async fn resumable(
    core: &Arc<Core>,
    source: Source,
    (seals, describe): (bool, Describe<'_>),
    journal: Option<Journal>,
    tell: Option<OnProgress>,
) -> Result<(Stored, Option<Sealed>), Error> {
    let noted = match (&journal, &source) {
        (Some(journal), Source::File { state, .. }) => journal.noted(state),
        _ => None,
    };
    let noted = noted.filter(|(_, sealed)| sealed.is_some() == seals);
    let is_resumed = noted.is_some();
    let (target, idempotency_key, sealed) = match noted {
        Some((noted, sealed)) => (noted.target, noted.idempotency_key, sealed),
        None => {
            let sealed = match seals {
                true => Some(Sealed::fresh(&core.entropy)?),
                false => None,
            };
            (describe(sealed.as_ref())?, core.idempotency_key(), sealed)
        }
    };
    let content = Arc::new(Content::new(source, sealed.clone())?);
    if let (Some(journal), Source::File { state, .. }) = (&journal, &content.source)
        && content.layout.stored > PIECE
    {
        let note = (state, idempotency_key.as_str(), &target);
        journal.note(note, sealed.as_ref(), &mut core.entropy.rng())?;
    }
    let upload = Upload {
        core: Arc::clone(core),
        progress: Progress::new(Some(content.layout.text), tell),
        content,
        target,
        idempotency_key,
        is_resumed,
    };
    let outcome = upload.run().await;
    if let Some(journal) = journal.filter(|_| is_over(&outcome)) {
        journal.forget()?;
    }
    Ok((outcome?, sealed))
}

/// Whether there is nothing that could be taken up.
fn is_over(outcome: &Result<Stored, Error>) -> bool {
    match outcome {
        Ok(_) | Err(Error::SourceChanged(_)) => true,
        Err(error) => matches!(
            error.kind(),
            Some(
                ProblemKind::UploadClosed
                    | ProblemKind::UploadExpired
                    | ProblemKind::NotFound
                    | ProblemKind::IdempotencyKeyReused,
            )
        ),
    }
}
