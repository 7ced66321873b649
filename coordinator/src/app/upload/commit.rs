//! Chunk rows are written in batches: one task takes what is waiting, writes it in one
//! transaction and answers all. The first to wait is never delayed on purpose; the batch is what
//! gathered while the one before was written.
//!
//! A session that somebody else has locked keeps only its own chunks waiting. A database that is
//! away is asked again for a while: repeating a transaction whose outcome is unknown is harmless, as
//! a row that stands is neither written twice nor its blobs purged.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backon::Retryable;
use proto::{BlobId, FileId, NodeId};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::app::persist::{Leftovers, is_passing, patience};
use crate::db::{self, chunks::StoredChunk};
use crate::domain::ids::UploadId;

const QUEUE: usize = 1024;
const BATCH: usize = 64;

/// Until a session that somebody else has locked is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A purge of a store whose outcome is unknown waits longer than the store can be under way.
pub const UNKNOWN_OUTCOME_DELAY: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Completed, aborted or expired since the chunk was sent. Its blobs will be purged.
    #[error("the upload is no longer open")]
    SessionClosed,
    #[error("the database did not take the chunk: {0}")]
    Database(String),
    #[error("the coordinator is stopping")]
    Stopping,
}

#[derive(Debug)]
struct Job {
    upload_id: UploadId,
    chunks: Vec<StoredChunk>,
    in_vain: Vec<(NodeId, BlobId)>,
    reply: oneshot::Sender<Result<(), CommitError>>,
}

#[derive(Debug, Clone)]
pub struct Committer {
    jobs: mpsc::Sender<Job>,
}

impl Committer {
    /// Starts the task that writes; it ends when the last handle is gone.
    pub fn spawn(pool: PgPool) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, queue));
        Self { jobs }
    }

    /// Returns when the task that writes is no more: it has panicked.
    pub async fn ended(&self) {
        self.jobs.closed().await;
    }

    /// Returns when the chunks are durably known, with all their receipts.
    pub async fn commit(
        &self,
        upload_id: UploadId,
        chunks: Vec<StoredChunk>,
        in_vain: Vec<(NodeId, BlobId)>,
    ) -> Result<(), CommitError> {
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            upload_id,
            chunks,
            in_vain,
            reply,
        };
        self.jobs
            .send(job)
            .await
            .map_err(|_| CommitError::Stopping)?;
        outcome.await.map_err(|_| CommitError::Stopping)?
    }
}

async fn run(pool: PgPool, mut queue: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut leftovers = Leftovers::default();
    loop {
        if batch.is_empty() {
            if queue.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
        } else {
            // What is left belongs to locked sessions. Others go on with it.
            tokio::time::sleep(BUSY_PAUSE).await;
            while batch.len() < BATCH
                && let Ok(job) = queue.try_recv()
            {
                batch.push(job);
            }
        }
        let written = (|| write(&pool, &batch, leftovers.blobs()))
            .retry(patience())
            .when(is_passing)
            .notify(|error, pause| {
                tracing::warn!(%error, ?pause, chunks = batch.len(), "chunk rows are written again");
            })
            .await;
        batch = match written {
            Ok(sessions) => {
                leftovers.clear();
                answer(batch, &sessions)
            }
            Err(error) => {
                fail(batch, &error, &mut leftovers);
                Vec::new()
            }
        };
    }
}

/// Answers what has been decided and returns what has to wait for a locked session.
fn answer(jobs: Vec<Job>, sessions: &Sessions) -> Vec<Job> {
    let mut waiting = Vec::new();
    for job in jobs {
        if sessions.busy.contains(&job.upload_id) {
            waiting.push(job);
            continue;
        }
        let open = sessions.open.contains(&job.upload_id);
        let _ = job.reply.send(if open {
            Ok(())
        } else {
            Err(CommitError::SessionClosed)
        });
    }
    waiting
}

/// The blobs of what could not be written are purged once the database is back.
fn fail(jobs: Vec<Job>, error: &sqlx::Error, leftovers: &mut Leftovers) {
    for job in jobs {
        let stored = job.chunks.iter().flat_map(StoredChunk::blobs);
        leftovers.add(stored.chain(job.in_vain.iter().copied()));
        let _ = job
            .reply
            .send(Err(CommitError::Database(error.to_string())));
    }
}

#[derive(Debug)]
struct Sessions {
    open: HashSet<UploadId>,
    /// Locked by somebody else at the moment.
    busy: HashSet<UploadId>,
}

/// Lock the sessions, read what is there, decide, write all, commit.
async fn write(
    pool: &PgPool,
    jobs: &[Job],
    leftovers: &[(NodeId, BlobId)],
) -> sqlx::Result<Sessions> {
    let mut transaction = pool.begin().await?;
    let ids: HashSet<UploadId> = jobs.iter().map(|job| job.upload_id).collect();
    let ids: Vec<UploadId> = ids.into_iter().collect();
    let (open, busy) = db::uploads::lock_open(&mut transaction, &ids).await?;
    let sessions = Sessions {
        open: open.into_iter().collect(),
        busy: busy.into_iter().collect(),
    };
    let decided = || {
        jobs.iter()
            .filter(|job| !sessions.busy.contains(&job.upload_id))
    };

    let (to_open, to_closed): (Vec<&Job>, Vec<&Job>) =
        decided().partition(|job| sessions.open.contains(&job.upload_id));
    let sent: Vec<&StoredChunk> = to_open.iter().flat_map(|job| &job.chunks).collect();
    let places: Vec<_> = sent
        .iter()
        .map(|chunk| (chunk.file_id, chunk.index))
        .collect();
    let existing = db::chunks::existing_versions(&mut transaction, &places).await?;
    let plan = Plan::new(&sent, &existing);
    if !plan.replaced.is_empty() {
        db::chunks::delete_and_purge(&mut transaction, &plan.replaced).await?;
    }
    if !plan.insert.is_empty() {
        db::chunks::insert(&mut transaction, &plan.insert).await?;
    }

    let orphans = to_closed.iter().flat_map(|job| &job.chunks);
    let unused: Vec<_> = orphans
        .chain(plan.outdated)
        .flat_map(StoredChunk::blobs)
        .collect();
    db::purges::enqueue(&mut transaction, &unused, Duration::ZERO).await?;
    let in_vain = decided().flat_map(|job| &job.in_vain);
    let in_vain: Vec<_> = in_vain.chain(leftovers).copied().collect();
    db::purges::enqueue(&mut transaction, &in_vain, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(sessions)
}

/// A chunk that was sent more than once: the highest version wins, whatever order they arrive in.
struct Plan<'a> {
    insert: Vec<&'a StoredChunk>,
    /// Those that take the place of an older version in the database.
    replaced: Vec<(FileId, u32)>,
    outdated: Vec<&'a StoredChunk>,
}

impl<'a> Plan<'a> {
    fn new(sent: &[&'a StoredChunk], existing: &[(FileId, u32, u64)]) -> Self {
        let existing: HashMap<(FileId, u32), u64> = existing
            .iter()
            .map(|(file, index, version)| ((*file, *index), *version))
            .collect();
        let mut newest: HashMap<(FileId, u32), &'a StoredChunk> = HashMap::new();
        let mut outdated = Vec::new();
        for chunk in sent {
            let place = (chunk.file_id, chunk.index);
            let known = existing
                .get(&place)
                .is_some_and(|version| *version >= chunk.version);
            match newest.get(&place) {
                _ if known => outdated.push(*chunk),
                Some(other) if other.version >= chunk.version => outdated.push(*chunk),
                _ => outdated.extend(newest.insert(place, chunk)),
            }
        }
        let insert: Vec<_> = newest.into_values().collect();
        let replaced = insert
            .iter()
            .map(|chunk| (chunk.file_id, chunk.index))
            .filter(|place| existing.contains_key(place))
            .collect();
        Self {
            insert,
            replaced,
            outdated,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn chunk(index: u32, version: u64) -> StoredChunk {
        StoredChunk {
            file_id: FileId::from_uuid(Uuid::nil()),
            index,
            version,
            size_bytes: 1,
            sha256: None,
            replicas: Vec::new(),
        }
    }

    fn versions(chunks: &[&StoredChunk]) -> Vec<(u32, u64)> {
        let mut versions: Vec<_> = chunks.iter().map(|c| (c.index, c.version)).collect();
        versions.sort_unstable();
        versions
    }

    #[test]
    fn the_highest_version_of_a_chunk_wins_in_whatever_order_they_come() {
        let sent = [
            chunk(0, 3),
            chunk(0, 2),
            chunk(0, 5),
            chunk(1, 1),
            chunk(2, 4),
        ];
        let sent: Vec<_> = sent.iter().collect();
        let file = FileId::from_uuid(Uuid::nil());
        let plan = Plan::new(&sent, &[(file, 0, 4), (file, 2, 9)]);
        assert_eq!(versions(&plan.insert), [(0, 5), (1, 1)]);
        assert_eq!(plan.replaced, [(file, 0)]);
        assert_eq!(versions(&plan.outdated), [(0, 2), (0, 3), (2, 4)]);
    }
}
