//! Chunk rows are written in batches: one task takes what is waiting, writes it in one
//! transaction and answers all. The first to wait is never delayed on purpose; the batch is what
//! gathered while the one before was written.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proto::{BlobId, FileId, NodeId};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::db::{self, chunks::StoredChunk};
use crate::domain::ids::UploadId;

const QUEUE: usize = 1024;
const BATCH: usize = 64;

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
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                let outcome = write(&pool, &batch).await;
                answer(batch.drain(..), outcome);
            }
        });
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

fn answer(jobs: impl Iterator<Item = Job>, outcome: sqlx::Result<HashSet<UploadId>>) {
    for job in jobs {
        let reply = match &outcome {
            Ok(open) if open.contains(&job.upload_id) => Ok(()),
            Ok(_) => Err(CommitError::SessionClosed),
            Err(error) => Err(CommitError::Database(error.to_string())),
        };
        let _ = job.reply.send(reply);
    }
}

/// Lock the sessions, read what is there, decide, write all, commit. Returns the open sessions.
async fn write(pool: &PgPool, jobs: &[Job]) -> sqlx::Result<HashSet<UploadId>> {
    let mut transaction = pool.begin().await?;
    let ids: HashSet<Uuid> = jobs.iter().map(|job| job.upload_id.as_uuid()).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let open: HashSet<UploadId> = db::uploads::lock_open(&mut transaction, &ids)
        .await?
        .into_iter()
        .collect();

    let sent: Vec<&StoredChunk> = jobs
        .iter()
        .filter(|job| open.contains(&job.upload_id))
        .flat_map(|job| &job.chunks)
        .collect();
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

    let orphans = jobs.iter().filter(|job| !open.contains(&job.upload_id));
    let unused = orphans.flat_map(|job| &job.chunks).chain(plan.outdated);
    let unused: Vec<_> = unused
        .flat_map(|chunk| chunk.replicas.iter().map(|r| (r.node_id, r.blob_id)))
        .collect();
    db::purges::enqueue(&mut transaction, &unused, Duration::ZERO).await?;
    let in_vain: Vec<_> = jobs
        .iter()
        .flat_map(|job| job.in_vain.iter().copied())
        .collect();
    db::purges::enqueue(&mut transaction, &in_vain, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(open)
}

/// A chunk that was sent more than once: the highest version wins, whatever order they arrive in.
struct Plan<'a> {
    insert: Vec<&'a StoredChunk>,
    /// Those of `insert` that take the place of an older version in the database.
    replaced: Vec<&'a StoredChunk>,
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
            .filter(|chunk| existing.contains_key(&(chunk.file_id, chunk.index)))
            .copied()
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
        assert_eq!(versions(&plan.replaced), [(0, 5)]);
        assert_eq!(versions(&plan.outdated), [(0, 2), (0, 3), (2, 4)]);
    }
}
