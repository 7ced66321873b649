//! People at work: each worker writes, reads and deletes files, one request after the other, and asks the
//! coordinators in turn.
//!
//! A read is checked at once, byte for byte. Whoever is refused comes again a moment later.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use local_cluster::client::{ApiError, Session, chunk_of};
use proto::FileId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Body, StatusCode};
use tokio::task::JoinSet;

use super::content::{Contents, name_of};
use super::journal::{Journal, Op, State, Stored, Work};

const WORKERS: u64 = 6;
/// With so many files, deletions outweigh uploads.
const MANY_FILES: usize = 250;
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An upload in steps that was begun is given up after this.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
const KIB: u64 = 1024;
const CHUNK: u64 = 64 * KIB;

#[derive(Clone)]
pub(super) struct Workload {
    pub journal: Arc<Journal>,
    pub contents: Contents,
    /// At each coordinator, with one and the same token.
    sessions: Arc<[Session]>,
    asked: Arc<AtomicUsize>,
    next_number: Arc<AtomicU64>,
}

/// The coordinator that is asked next.
#[derive(Clone, Copy)]
struct Turn<'a> {
    coordinator: usize,
    session: &'a Session,
}

enum Failure {
    Refused(ApiError),
    TimedOut,
}

impl Failure {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(error) => error.status(),
            Self::TimedOut => None,
        }
    }
}

impl Workload {
    /// `sessions`: of one user at each coordinator, in their order; at least one.
    pub(super) fn new(sessions: Vec<Session>, journal: Arc<Journal>, contents: Contents) -> Self {
        Self {
            journal,
            contents,
            sessions: sessions.into(),
            asked: Arc::default(),
            next_number: Arc::default(),
        }
    }

    /// The user at the coordinator whose turn it is.
    pub(super) fn session(&self) -> &Session {
        self.turn().session
    }

    fn turn(&self) -> Turn<'_> {
        let index = self.asked.fetch_add(1, Ordering::Relaxed) % self.sessions.len();
        Turn {
            coordinator: index + 1,
            session: &self.sessions[index],
        }
    }

    /// Until the journal says stop.
    pub(super) fn start(&self, seed: u64) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let work = self.clone();
            let rng = StdRng::seed_from_u64(seed.wrapping_mul(WORKERS).wrapping_add(worker));
            workers.spawn(async move { work.run(rng).await });
        }
        workers
    }

    async fn run(self, mut rng: StdRng) {
        while !self.journal.stop.is_cancelled() {
            let (writes, reads) = match self.journal.live() {
                live if live < MANY_FILES => (35, 55),
                _ => (20, 55),
            };
            let dice = rng.random_range(0..100);
            let went_well = if dice < writes {
                self.write(&mut rng).await
            } else if dice < writes + reads {
                self.read(&mut rng).await
            } else {
                self.delete(&mut rng).await
            };
            let pause = match went_well {
                true => Duration::from_millis(rng.random_range(0..20)),
                false => PAUSE_AFTER_FAILURE,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn write(&self, rng: &mut StdRng) -> bool {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (size, in_steps) = match rng.random_range(0..100) {
            0..3 => (0, false),
            3..55 => (rng.random_range(1..16 * KIB), false),
            55..80 => (rng.random_range(16 * KIB..8 * CHUNK), false),
            _ => (rng.random_range(1..5 * CHUNK), true),
        };
        let content = self.contents.of(number, size);
        let hash = blake3::hash(&content);
        self.journal.begin_upload(number, size);
        let file_id = match in_steps {
            true => self.write_in_steps(number, &content, rng).await,
            false => {
                // Now and then without saying how long it is.
                let length = rng.random_bool(0.9).then_some(size);
                let name = name_of(number);
                let body = match length {
                    Some(_) => Body::from(content),
                    None => Body::wrap_stream(stream::iter([io::Result::Ok(content)])),
                };
                let turn = self.turn();
                let upload = turn.session.upload(&name, length, body);
                let file = self.request(Work::Write, turn, upload).await;
                file.ok().map(|file| file.file_id)
            }
        };
        let Some(file_id) = file_id else {
            return false;
        };
        self.journal.acknowledge(Stored {
            number,
            file_id,
            size,
            hash,
        });
        true
    }

    /// Goes on after failures as a patient client does; `None` when it has given up.
    async fn write_in_steps(
        &self,
        number: u64,
        content: &Bytes,
        rng: &mut StdRng,
    ) -> Option<FileId> {
        let (name, size) = (name_of(number), content.len() as u64);
        // A second `initiate` would begin another upload of the same name.
        let turn = self.turn();
        let plan = self.request(Work::Write, turn, turn.session.initiate(&name, size));
        let plan = plan.await.ok()?;
        let deadline = Instant::now() + SESSION_TIMEOUT;
        let mut missing: Vec<u32> = plan.indices().collect();
        if let Some(first) = missing.first().copied()
            && rng.random_bool(0.2)
        {
            missing.push(first); // sent again
        }
        while Instant::now() < deadline {
            let turn = self.turn();
            let Some(index) = missing.last().copied() else {
                let complete = turn.session.complete(plan.upload_id);
                match self.request(Work::Write, turn, complete).await {
                    Ok(file) => return Some(file.file_id),
                    Err(_) => {
                        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                        continue;
                    }
                }
            };
            let chunk = chunk_of(&plan, content, index);
            let send = turn.session.send_chunk(plan.upload_id, index, chunk);
            match self.request(Work::Write, turn, send).await {
                Ok(_) => drop(missing.pop()),
                Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
            }
        }
        let _ = self.session().abort(plan.upload_id).await; // else it expires
        None
    }

    async fn read(&self, rng: &mut StdRng) -> bool {
        let Some(stored) = self.journal.pick(rng) else {
            return true;
        };
        let part = (stored.size > 1 && rng.random_bool(0.4)).then(|| {
            let start = rng.random_range(0..stored.size);
            start..rng.random_range(start..stored.size) + 1
        });
        let (turn, began) = (self.turn(), Instant::now());
        let outcome = within(TIMEOUT, fetch(turn.session, &stored, part.clone())).await;
        // A file that is being deleted may go in the middle of a read.
        if outcome.is_err() && self.journal.state(stored.file_id) != Some(State::Live) {
            return true;
        }
        self.note(Work::Read, turn, began, outcome.is_ok());
        match outcome {
            Ok(bytes) => {
                self.check(&stored, part, &bytes);
                true
            }
            Err(failure) => {
                if failure.status() == Some(StatusCode::NOT_FOUND) {
                    let Stored {
                        number, file_id, ..
                    } = &stored;
                    self.journal.violate(format!(
                        "file {number} ({file_id}) was acknowledged, and is said not to exist"
                    ));
                }
                false
            }
        }
    }

    fn check(&self, stored: &Stored, part: Option<Range<u64>>, bytes: &Bytes) {
        let right = match &part {
            None => bytes.len() as u64 == stored.size && blake3::hash(bytes) == stored.hash,
            Some(part) => {
                let whole = self.contents.of(stored.number, stored.size);
                *bytes == whole[part.start as usize..part.end as usize]
            }
        };
        if !right {
            let Stored {
                number,
                file_id,
                size,
                ..
            } = stored;
            let length = bytes.len();
            self.journal.violate(format!(
                "file {number} ({file_id}, {size} bytes), read {part:?}: {length} bytes came back, \
                 and not those that were stored"
            ));
        }
    }

    async fn delete(&self, rng: &mut StdRng) -> bool {
        let Some(stored) = self.journal.pick_to_delete(rng) else {
            return true;
        };
        let turn = self.turn();
        let delete = turn.session.delete(stored.file_id);
        if self.request(Work::Write, turn, delete).await.is_err() {
            return false;
        }
        self.journal.acknowledge_deletion(stored.file_id);
        let read = within(TIMEOUT, self.session().download(stored.file_id)).await;
        if read.is_ok() {
            self.journal.violate(format!(
                "file {} ({}) was read after its deletion was acknowledged",
                stored.number, stored.file_id
            ));
        }
        true
    }

    async fn request<T>(
        &self,
        work: Work,
        turn: Turn<'_>,
        request: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let outcome = within(TIMEOUT, request).await;
        self.note(work, turn, began, outcome.is_ok());
        outcome
    }

    fn note(&self, work: Work, turn: Turn<'_>, began: Instant, succeeded: bool) {
        self.journal.note(Op {
            work,
            coordinator: turn.coordinator,
            began,
            ended: Instant::now(),
            succeeded,
        });
    }
}

async fn fetch(
    session: &Session,
    stored: &Stored,
    part: Option<Range<u64>>,
) -> Result<Bytes, ApiError> {
    match part {
        Some(part) => session.download_range(stored.file_id, part).await,
        None => session.download(stored.file_id).await,
    }
}

async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, request).await {
        Ok(outcome) => outcome.map_err(Failure::Refused),
        Err(_) => Err(Failure::TimedOut),
    }
}
