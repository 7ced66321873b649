//! A group of chunks that were worked on becomes what the database says of them, in one transaction.
//!
//! Under the locks of the chunks everything is looked at anew: a file may have been deleted meanwhile, a chunk
//! sent again, a node have come back, another coordinator have made the same copy. Whatever the copies were
//! made for, what counts is what the chunk needs now.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backon::Retryable;
use proto::{BlobId, NodeId};

use crate::blobs::tentative::UNKNOWN_OUTCOME_DELAY;
use crate::database::commit_retry::{is_passing, pauses};
use crate::durability::repair::rebuild::Rebuilt;
use crate::durability::{Durability, tables};
use crate::{billing, blobs, fleet};
use jiff::Timestamp;

use crate::durability::tables::repair::{KeptChunk, PutOff};
use rules::repair::{Replica, health, plan, retry_pause};
use sealing::ChunkRef;

/// A chunk of an upload that is not complete is looked at again after this time: its replicas begin to
/// earn when it is.
const UPLOADING_PAUSE: Duration = Duration::from_secs(60);

/// What has been done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub added: usize,
    removed: usize,
    /// Chunks that need nothing more.
    whole: usize,
    /// Chunks that could not be given all their copies, and one reason of theirs.
    troubled: usize,
    trouble: Option<String>,
}

impl Settled {
    pub(super) fn add(&mut self, more: &Self) {
        self.added += more.added;
        self.removed += more.removed;
        self.whole += more.whole;
        self.troubled += more.troubled;
        if more.trouble.is_some() {
            self.trouble.clone_from(&more.trouble);
        }
    }

    pub(super) fn log(&self, elapsed: Duration) {
        let Self {
            added,
            removed,
            whole,
            troubled,
            trouble,
        } = self;
        if let Some(trouble) = trouble {
            tracing::warn!(
                chunks = troubled,
                trouble,
                "chunks cannot be repaired now; they are tried again"
            );
        }
        if *added > 0 || *removed > 0 {
            tracing::info!(added, removed, whole, ?elapsed, "chunks were repaired");
        }
    }
}

/// Settles chunks. When the database does not take it, what was stored is purged; the chunks come back when their leases are over.
pub(super) async fn settle(
    durability: &Durability,
    rebuilt: Vec<Rebuilt>,
) -> anyhow::Result<Settled> {
    let settled = (|| write(durability, &rebuilt))
        .retry(pauses())
        .when(is_passing)
        .notify(|error, pause| tracing::warn!(%error, ?pause, "repaired chunks are written again"))
        .await;
    match settled {
        Ok(mut settled) => {
            let mut troubles = rebuilt
                .iter()
                .filter_map(|rebuilt| rebuilt.trouble.as_ref());
            settled.troubled = troubles.clone().count();
            settled.trouble = troubles.next_back().map(ToString::to_string);
            durability
                .metrics
                .repairs_failed
                .inc_by(settled.troubled as u64);
            durability
                .metrics
                .repaired_replicas
                .inc_by(settled.added as u64);
            durability
                .metrics
                .removed_replicas
                .inc_by(settled.removed as u64);
            durability.blobs.purge_wake.wake();
            for copies in rebuilt.into_iter().flat_map(|rebuilt| rebuilt.copies) {
                copies.settled();
            }
            Ok(settled)
        }
        Err(error) => Err(error.into()), // what was stored is dropped with it, and purged
    }
}

/// Lock, read all, decide, write all, commit.
async fn write(durability: &Durability, rebuilt: &[Rebuilt]) -> sqlx::Result<Settled> {
    let mut transaction = durability.db.begin().await?;
    let chunks: Vec<ChunkRef> = rebuilt.iter().map(|rebuilt| rebuilt.queued.chunk).collect();
    let kept = tables::repair::lock_chunks(&mut transaction, &chunks).await?;
    let kept: HashMap<ChunkRef, KeptChunk> =
        kept.into_iter().map(|kept| (kept.chunk, kept)).collect();

    // Two on one node are lost together: whoever comes second with a copy for a node has made it in vain.
    let mut on_nodes: HashSet<(ChunkRef, NodeId)> = HashSet::new();
    for (chunk, replica) in tables::repair::replicas(&mut transaction, &chunks).await? {
        if replica.demoted_at.is_none() {
            on_nodes.insert((chunk, replica.node_id));
        }
    }
    let (mut added, mut unused) = (Vec::new(), Vec::new());
    for rebuilt in rebuilt {
        let chunk = rebuilt.queued.chunk;
        let is_current = kept
            .get(&chunk)
            .is_some_and(|kept| kept.version == rebuilt.version);
        for replica in rebuilt.stored() {
            if is_current && on_nodes.insert((chunk, replica.node_id)) {
                added.push(((chunk.file_id, chunk.index), *replica));
            } else {
                unused.push((replica.node_id, replica.blob_id));
            }
        }
    }
    if !added.is_empty() {
        blobs::tables::chunks::insert_replicas(&mut transaction, &added, false).await?;
    }
    let mut replicas: HashMap<ChunkRef, Vec<Replica>> = HashMap::new();
    for (chunk, mut replica) in tables::repair::replicas(&mut transaction, &chunks).await? {
        replica.domains = super::domains(durability, &replica);
        replicas.entry(chunk).or_default().push(replica);
    }

    let mut changes = Changes::default();
    let now = durability.clock.now();
    for rebuilt in rebuilt {
        let chunk = rebuilt.queued.chunk;
        match kept.get(&chunk) {
            Some(kept) => {
                changes.decide(
                    kept,
                    rebuilt,
                    replicas.get(&chunk).map_or(&[], |r| &r[..]),
                    now,
                );
            }
            None => changes.whole.push(chunk), // gone, and its row with it
        }
    }
    if fleet::tables::awaiting_restore::stands(&mut transaction).await? {
        changes.take_nothing_away(); // it was begun before
    }
    let mut touched: Vec<_> = [&changes.remove[..], &changes.stop, &changes.start].concat();
    touched.sort_unstable();
    touched.dedup();
    tables::repair::lock_replicas(&mut transaction, &touched).await?;
    billing::tables::earnings::reassign(&mut transaction, &changes.stop, &changes.start, "repair")
        .await?;
    tables::repair::remove_replicas(&mut transaction, &changes.remove).await?;
    tables::repair::finish(&mut transaction, &changes.whole).await?;
    tables::repair::put_off(&mut transaction, &changes.again).await?;
    blobs::tables::purges::enqueue(&mut transaction, &unused, Duration::ZERO).await?;
    let unknown: Vec<_> = rebuilt.iter().flat_map(Rebuilt::unknown).collect();
    blobs::tables::purges::enqueue(&mut transaction, &unknown, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(Settled {
        added: added.len(),
        removed: changes.remove.len(),
        whole: changes.whole.len(),
        ..Settled::default()
    })
}

/// What is to be written for a group of chunks.
#[derive(Debug, Default)]
struct Changes {
    remove: Vec<(NodeId, BlobId)>,
    stop: Vec<(NodeId, BlobId)>,
    start: Vec<(NodeId, BlobId)>,
    whole: Vec<ChunkRef>,
    again: Vec<PutOff>,
}

impl Changes {
    /// What the rows say of other replicas is not to be relied on.
    fn take_nothing_away(&mut self) {
        self.remove.clear();
        self.stop.clear();
        self.start.clear();
    }

    fn decide(
        &mut self,
        kept: &KeptChunk,
        rebuilt: &Rebuilt,
        replicas: &[Replica],
        now: Timestamp,
    ) {
        let scheme = kept.scheme;
        let health = health(replicas, scheme);
        let plan = plan(replicas, scheme, now);
        let named = |places: &[usize]| -> Vec<(NodeId, BlobId)> {
            let named = places
                .iter()
                .map(|at| (replicas[*at].node_id, replicas[*at].blob_id));
            named.collect()
        };
        self.remove.extend(named(&plan.remove));
        if kept.ready {
            self.stop.extend(named(&plan.stop_earning));
            self.start.extend(named(&plan.start_earning));
        }
        let margin = scheme.margin(u32::try_from(health.healthy).unwrap_or(u32::MAX - 1));
        let put_off = |attempts, pause| PutOff {
            chunk: kept.chunk,
            margin,
            attempts,
            pause,
        };
        if health.missing.is_empty() && kept.ready {
            self.whole.push(kept.chunk);
        } else if health.missing.is_empty() {
            self.again.push(put_off(0, UPLOADING_PAUSE));
        } else if rebuilt.stored().next().is_none() {
            let attempts = rebuilt.queued.attempts.saturating_add(1);
            self.again
                .push(put_off(attempts, retry_pause(margin, attempts)));
        } else {
            self.again.push(put_off(0, Duration::ZERO));
        }
    }
}
