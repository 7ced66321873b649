//! Chunk rows are written in batches: one task locks the sessions of whatever waits, decides which chunks are the
//! newest, and writes them all in one transaction. Chunks of a session that somebody else has locked are put off, and
//! hold up nobody. A database that is away is asked again for a while: repeating a transaction whose outcome is unknown
//! is harmless, as a row that stands is neither written twice nor its blobs purged. What it refuses for good is written
//! in parts, so that only the chunk that is to blame is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::database::Pool;
use backon::Retryable;
use kit::{BatchError, BatchWriter, Batcher, Limits, Outcome, Parts};
use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;

use crate::blobs;
use crate::blobs::tentative::{Tentative, UNKNOWN_OUTCOME_DELAY};
use crate::database::commit_retry::{is_passing, may_be_of_one_item, pauses};
use crate::files::tables;
use model::chunk::StoredChunk;
use model::ids::UploadId;

/// Until a session that somebody else has locked is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Chunks that one transaction takes away.
const TAKEN_AWAY: i64 = 1000;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Completed, aborted or expired since the chunk was sent. Its blobs will be purged.
    #[error("the upload is no longer open")]
    SessionClosed,
    #[error("the database did not take the chunk")]
    Database(#[source] Arc<sqlx::Error>),
    #[error(transparent)]
    NotWritten(#[from] BatchError),
}

/// A chunk that lies on its nodes.
#[derive(Debug)]
pub struct SentChunk {
    pub chunk: StoredChunk,
    pub blobs: Tentative,
}

/// Chunks of one session.
#[derive(Debug)]
pub struct ChunkCommit {
    pub upload_id: UploadId,
    pub chunks: Vec<SentChunk>,
}

impl ChunkCommit {
    fn rows(&self) -> impl Iterator<Item = &StoredChunk> {
        self.chunks.iter().map(|sent| &sent.chunk)
    }

    fn unknown(&self) -> impl Iterator<Item = (NodeId, BlobId)> {
        let unknown = self.chunks.iter().flat_map(|sent| sent.blobs.unknown());
        unknown.copied()
    }

    /// Its rows are written, or its blobs are in the outbox.
    fn settled(self) {
        for sent in self.chunks {
            sent.blobs.settled();
        }
    }
}

/// Returns when the chunks are durably known, with all their receipts.
pub type ChunkCommits = Batcher<ChunkCommit, Result<(), CommitError>>;

/// Starts the task that writes; it ends when the last handle is gone.
pub fn spawn(pool: Pool) -> ChunkCommits {
    let limits = Limits {
        pause: BUSY_PAUSE,
        ..Limits::default()
    };
    Batcher::spawn(limits, Writer(pool))
}

struct Writer(Pool);

impl BatchWriter for Writer {
    type Item = ChunkCommit;
    type Output = Result<(), CommitError>;

    async fn write(&mut self, items: Vec<ChunkCommit>) -> Vec<Outcome<ChunkCommit, Self::Output>> {
        let mut parts = Parts::of(items.len());
        let mut items = items.into_iter();
        let mut outcomes = Vec::with_capacity(items.len());
        while let Some(part) = parts.take() {
            // Parts come in order, and each is written or refused before the next one begins.
            let batch = &items.as_slice()[..part.len()];
            let written = (|| write(&self.0, batch))
                .retry(pauses())
                .when(is_passing)
                .notify(|error, pause| {
                    tracing::warn!(%error, ?pause, commits = part.len(), "chunk rows are written again");
                })
                .await;
            match written {
                Ok(sessions) => {
                    let written = items.by_ref().take(part.len());
                    outcomes.extend(written.map(|item| sessions.answer(item)));
                }
                Err(error) if may_be_of_one_item(&error) && parts.split(part.clone()) => {
                    tracing::warn!(%error, commits = part.len(), "chunk rows are written in parts");
                }
                Err(error) => {
                    let error = Arc::new(error);
                    let failed = items.by_ref().take(part.len());
                    outcomes
                        .extend(failed.map(|_| {
                            Outcome::Done(Err(CommitError::Database(Arc::clone(&error))))
                        }));
                }
            }
        }
        outcomes
    }
}

#[derive(Debug)]
struct Sessions {
    open: HashSet<UploadId>,
    /// Locked by somebody else at the moment.
    busy: HashSet<UploadId>,
}

impl Sessions {
    /// What has been decided of an item.
    fn answer(&self, item: ChunkCommit) -> Outcome<ChunkCommit, Result<(), CommitError>> {
        if self.busy.contains(&item.upload_id) {
            return Outcome::PutOff(item);
        }
        let is_open = self.open.contains(&item.upload_id);
        item.settled();
        Outcome::Done(match is_open {
            true => Ok(()),
            false => Err(CommitError::SessionClosed),
        })
    }
}

/// Lock the sessions, read what is there, decide, write all, commit.
async fn write(pool: &Pool, items: &[ChunkCommit]) -> sqlx::Result<Sessions> {
    let mut transaction = pool.begin().await?;
    let ids: HashSet<UploadId> = items.iter().map(|item| item.upload_id).collect();
    let ids: Vec<UploadId> = ids.into_iter().collect();
    let (open, busy) = tables::uploads::lock_open(&mut transaction, &ids).await?;
    let sessions = Sessions {
        open: open.into_iter().collect(),
        busy: busy.into_iter().collect(),
    };
    let decided = || {
        let items = items.iter();
        items.filter(|item| !sessions.busy.contains(&item.upload_id))
    };

    let (to_open, to_closed): (Vec<&ChunkCommit>, Vec<&ChunkCommit>) =
        decided().partition(|item| sessions.open.contains(&item.upload_id));
    let sent: Vec<&StoredChunk> = to_open.iter().flat_map(|item| item.rows()).collect();
    let places: Vec<_> = sent
        .iter()
        .map(|chunk| (chunk.file_id, chunk.index))
        .collect();
    let existing = blobs::tables::chunks::existing_versions(&mut transaction, &places).await?;
    let plan = Plan::new(&sent, &existing);
    if !plan.replaced.is_empty() {
        blobs::tables::chunks::delete_and_purge(&mut transaction, &plan.replaced).await?;
    }
    if !plan.insert.is_empty() {
        blobs::tables::chunks::insert(&mut transaction, &plan.insert).await?;
    }

    let orphans = to_closed.iter().flat_map(|item| item.rows());
    let unused: Vec<_> = orphans
        .chain(plan.outdated)
        .flat_map(StoredChunk::blobs)
        .collect();
    blobs::tables::purges::enqueue(&mut transaction, &unused, Duration::ZERO).await?;
    let unknown: Vec<_> = decided().flat_map(ChunkCommit::unknown).collect();
    blobs::tables::purges::enqueue(&mut transaction, &unknown, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(sessions)
}

/// Takes some of the chunks from an index on away, of an open session whose row is locked; whether those were all.
pub(super) async fn take_some_away(
    connection: &mut PgConnection,
    file: FileId,
    from: u32,
) -> sqlx::Result<bool> {
    let chunks = blobs::tables::chunks::some_from(connection, file, from, TAKEN_AWAY).await?;
    if !chunks.is_empty() {
        blobs::tables::chunks::delete_and_purge(connection, &chunks).await?;
    }
    Ok((chunks.len() as i64) < TAKEN_AWAY)
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
            sha256: [0; 32],
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
