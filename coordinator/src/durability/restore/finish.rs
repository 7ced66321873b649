//! The end of restore mode: chunk by chunk, what was found becomes what the database says.
//!
//! Rows whose blobs nobody holds go, without blame: the database has forgotten where the copies went, and
//! no node is at fault. The last row of a chunk stays, demoted, so that the chunk is not out of sight; so does one more of a
//! coded chunk that too few pieces are left of.

use std::collections::{HashMap, HashSet};

use crate::database::Pool;
use proto::{BlobId, NodeId};

use crate::billing;
use crate::durability::tables;
use jiff::Timestamp;
use model::scheme::Scheme;

use rules::repair::{Replica, plan};
use sealing::ChunkRef;

/// Findings that are settled in one transaction.
const BATCH: i64 = 200;

/// Whether there is more to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Restore mode does not stand, or nodes are still gone through.
    Nothing,
    Some,
    /// That was the last of it: everything goes on.
    Ended,
}

/// Goes over to the end once all nodes have been gone through; `true` when it does.
pub(super) async fn begin_when_complete(pool: &Pool) -> anyhow::Result<bool> {
    let mut transaction = pool.begin().await?;
    let Some(restore_mode) = tables::restore::lock(&mut transaction).await? else {
        return Ok(false);
    };
    let awaited = tables::restore::nodes::awaited(&mut transaction, restore_mode.id).await?;
    if restore_mode.is_finishing || !awaited.is_empty() {
        return Ok(restore_mode.is_finishing);
    }
    tables::restore::begin_finishing(&mut transaction, restore_mode.id).await?;
    transaction.commit().await?;
    tracing::info!("every node has been gone through: what was found is settled");
    Ok(true)
}

/// Settles some chunks in one transaction; at the end of them, ends restore mode.
pub async fn settle_some(pool: &Pool, now: Timestamp) -> sqlx::Result<Settled> {
    let mut transaction = pool.begin().await?;
    let Some(restore_mode) = tables::restore::lock(&mut transaction).await? else {
        return Ok(Settled::Nothing);
    };
    if !restore_mode.is_finishing {
        return Ok(Settled::Nothing);
    }
    let found = tables::restore::findings(&mut transaction, restore_mode.id, BATCH).await?;
    if found.is_empty() {
        tables::restore::end(&mut transaction, restore_mode.id).await?;
        transaction.commit().await?;
        tracing::info!("restore mode has ended: everything goes on");
        return Ok(Settled::Ended);
    }
    let chunks: HashSet<ChunkRef> = found.iter().filter_map(|found| found.chunk).collect();
    let chunks: Vec<ChunkRef> = chunks.into_iter().collect();
    let kept = tables::repair::lock_chunks(&mut transaction, &chunks).await?;
    let missing = tables::restore::missing_of(&mut transaction, restore_mode.id, &chunks).await?;
    let mut replicas: HashMap<ChunkRef, Vec<Replica>> = HashMap::new();
    for (chunk, replica) in tables::repair::replicas(&mut transaction, &chunks).await? {
        replicas.entry(chunk).or_default().push(replica);
    }

    let mut changes = Changes::default();
    let is_missing: HashSet<(NodeId, BlobId)> = missing.iter().copied().collect();
    for chunk in &kept {
        let of_chunk = replicas.remove(&chunk.chunk).unwrap_or_default();
        changes.decide(of_chunk, chunk.scheme, chunk.ready, &is_missing, now);
    }
    let mut touched = changes.touched();
    touched.sort_unstable();
    touched.dedup();
    tables::repair::lock_replicas(&mut transaction, &touched).await?;
    billing::tables::earnings::reassign(&mut transaction, &changes.stop, &changes.start, "adopted")
        .await?;
    tables::restore::drop_rows(&mut transaction, &changes.drop).await?;
    tables::repair::remove_replicas(&mut transaction, &changes.surplus).await?;
    tables::restore::demote_last(&mut transaction, restore_mode.id, &changes.last).await?;
    tables::repair::enqueue_needy(&mut transaction, &chunks).await?;
    let of_batch = found.iter().map(|found| (found.node_id, found.blob_id));
    let settled: Vec<(NodeId, BlobId)> = of_batch.chain(missing).collect();
    tables::restore::forget_findings(&mut transaction, restore_mode.id, &settled).await?;
    transaction.commit().await?;
    Ok(Settled::Some)
}

/// What is to be written for some chunks.
#[derive(Debug, Default)]
struct Changes {
    /// Their blobs are not there.
    drop: Vec<(NodeId, BlobId)>,
    /// Nothing else is left of their chunks.
    last: Vec<(NodeId, BlobId)>,
    /// Second replicas of a chunk on one node.
    surplus: Vec<(NodeId, BlobId)>,
    stop: Vec<(NodeId, BlobId)>,
    start: Vec<(NodeId, BlobId)>,
}

impl Changes {
    fn decide(
        &mut self,
        replicas: Vec<Replica>,
        scheme: Scheme,
        ready: bool,
        is_missing: &HashSet<(NodeId, BlobId)>,
        now: Timestamp,
    ) {
        let name = |replica: &Replica| (replica.node_id, replica.blob_id);
        let (mut gone, mut there): (Vec<_>, Vec<_>) = replicas
            .into_iter()
            .partition(|replica| is_missing.contains(&name(replica)));
        let pieces: HashSet<u8> = there.iter().map(|replica| replica.piece).collect();
        let held = match scheme {
            Scheme::Copies { .. } => there.len(),
            Scheme::Coded { .. } => pieces.len(),
        };
        if held < scheme.needed() as usize {
            self.last
                .extend(gone.pop().as_ref().map(name).inspect(|last| {
                    // It earns no longer, whether it goes or stays.
                    if ready {
                        self.stop.push(*last);
                    }
                }));
        }
        // Two copies on one node are lost together: whichever is better known stays. Two pieces are each needed.
        there.sort_by_key(|replica| {
            (
                replica.node_id,
                replica.piece,
                replica.demoted_at.is_some(),
                !replica.earns,
            )
        });
        let mut before = None;
        let surplus = there.extract_if(.., |replica| {
            let is_second = before.replace((replica.node_id, replica.piece))
                == Some((replica.node_id, replica.piece));
            is_second && replica.demoted_at.is_none()
        });
        let surplus: Vec<Replica> = surplus.collect();
        if ready {
            let leaving = gone.iter().chain(&surplus).filter(|replica| replica.earns);
            self.stop.extend(leaving.map(name));
            let plan = plan(&there, scheme, now);
            self.stop
                .extend(plan.stop_earning.iter().map(|at| name(&there[*at])));
            self.start
                .extend(plan.start_earning.iter().map(|at| name(&there[*at])));
        }
        self.drop.extend(gone.iter().map(name));
        self.surplus.extend(surplus.iter().map(name));
    }

    fn touched(&self) -> Vec<(NodeId, BlobId)> {
        [
            &self.drop,
            &self.last,
            &self.surplus,
            &self.stop,
            &self.start,
        ]
        .into_iter()
        .flatten()
        .copied()
        .collect()
    }
}
