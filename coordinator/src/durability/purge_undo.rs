//! Undo of deletions: nodes bring back what has gone to their trash since a time, whoever ordered it.
//!
//! What a node put off is known to the node alone: the outbox forgets an order when it is acknowledged, and the
//! database may be what was wrong. So each node is asked what is in its trash, a page at a time, under a lease, and
//! told to restore what went there since. What comes back without a row is found by reconciling, which throws it
//! away again in its own careful way.

use std::time::Duration;

use anyhow::{bail, ensure};
use jiff::{SignedDuration, Timestamp};
use proto::{
    BlobId, BlobRange, Delete, Deletion, DeletionMode, DeletionOutcome, InventoryAsk,
    InventoryItem, InventoryRequest, MAX_DELETIONS_PER_MESSAGE, NodeId, PeerId,
};

use crate::blobs;
use crate::database::Pool;
use crate::durability::Durability;
use crate::durability::inventory::ask;
use crate::durability::tables::purge_undos::{self, Undo};

/// A page takes a second or two; a node that fails waits longer each time.
const LEASE: Duration = Duration::from_secs(60);

/// Ages are whole seconds, and a question takes its time.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// What an undo has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub nodes: u64,
    /// Orders that no node has been told yet, and none will be.
    pub taken_back: u64,
}

/// Has all nodes, or one, bring back what went to their trash since then, and takes back the orders from since then
/// that they were not told yet.
pub async fn begin(pool: &Pool, since: Timestamp, node: Option<NodeId>) -> sqlx::Result<Begun> {
    let mut transaction = pool.begin().await?;
    let taken_back = blobs::tables::purges::take_back(&mut transaction, since, node).await?;
    let nodes = purge_undos::request(&mut transaction, since, node).await?;
    transaction.commit().await?;
    Ok(Begun { nodes, taken_back })
}

/// A page of one node's trash. Whether there may be more to do.
pub async fn step(durability: &Durability) -> anyhow::Result<bool> {
    let online: Vec<NodeId> = durability
        .blobs
        .fleet
        .online()
        .iter()
        .map(|member| member.node_id)
        .collect();
    let undo = {
        let mut connection = durability.db.acquire().await?;
        purge_undos::take(&mut connection, &online, LEASE).await?
    };
    let Some(undo) = undo else {
        return Ok(false);
    };
    if let Err(error) = page(durability, undo).await {
        let error = format!("{error:#}");
        tracing::warn!(node_id = %undo.node_id, error, "a node does not bring back what it threw away; it is asked again");
    }
    Ok(true)
}

async fn page(durability: &Durability, undo: Undo) -> anyhow::Result<()> {
    let Some(member) = durability.blobs.fleet.member(undo.node_id) else {
        return Ok(());
    };
    let left = match undo.upto {
        Some(upto) => BlobRange::ALL.behind(&upto),
        None => Some(BlobRange::ALL),
    };
    let (mut back, mut upto) = (0, None);
    if let Some(left) = left {
        let request = InventoryRequest::new(vec![left], InventoryAsk::Trash)?;
        let network = durability.blobs.fleet.network();
        let answer = ask(network, member.peer_id, &request).await?;
        let now = durability.clock.now();
        let wanted = answer
            .items
            .iter()
            .filter(|item| is_since(item, undo.since, now));
        let wanted: Vec<BlobId> = wanted.map(|item| item.blob_id).collect();
        back = restore(durability, member.peer_id, &wanted).await?;
        upto = answer.resume_from.and_then(|next| next.previous());
    }
    let mut connection = durability.db.acquire().await?;
    purge_undos::advance(&mut connection, &undo, back, upto).await?;
    if back > 0 {
        tracing::warn!(node_id = %undo.node_id, blobs = back, "a node has brought back what it threw away");
    }
    Ok(())
}

/// By ages, not by the node's clock. An older node does not say how old its trash is, and puts nothing off.
fn is_since(item: &InventoryItem, since: Timestamp, now: Timestamp) -> bool {
    let Some(age) = item.trashed_age_s.filter(|_| item.trashed) else {
        return false;
    };
    let age = i64::try_from(age).map_or(SignedDuration::MAX, SignedDuration::from_secs);
    now.duration_since(since).saturating_add(SLACK) >= age
}

async fn restore(durability: &Durability, peer: PeerId, wanted: &[BlobId]) -> anyhow::Result<u64> {
    let mut back = 0;
    for blobs in wanted.chunks(MAX_DELETIONS_PER_MESSAGE) {
        let deletions = blobs.iter().map(|blob| Deletion {
            blob_id: *blob,
            mode: DeletionMode::Restore,
        });
        let keys = &durability.blobs.keys;
        let order = keys.order(peer, deletions.collect(), durability.clock.now())?;
        let network = durability.blobs.fleet.network();
        let outcomes = network.call::<Delete>(peer, order).await?.0;
        ensure!(
            outcomes.len() == blobs.len(),
            "it answered another number of blobs than it was asked to bring back"
        );
        for outcome in outcomes {
            match outcome {
                DeletionOutcome::Done => back += 1,
                DeletionOutcome::NotHeld => {} // gone meanwhile
                DeletionOutcome::Failed | DeletionOutcome::Deferred => {
                    bail!("it cannot bring a blob back from its trash now")
                }
            }
        }
    }
    Ok(back)
}

#[cfg(test)]
mod tests {
    use proto::Locator;

    use super::*;

    #[test]
    fn what_went_to_the_trash_since_then_comes_back_and_nothing_older() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let since = Timestamp::from_second(1_800_000_000 - 3600).unwrap();
        let item = |trashed, trashed_age_s| InventoryItem {
            blob_id: BlobId::of(b""),
            length: 1,
            age_s: 0,
            locator: Locator::from_bytes([0; 64]),
            trashed,
            trashed_age_s,
        };
        for (item, wanted) in [
            (item(true, Some(0)), true),
            (item(true, Some(3600)), true),
            (item(true, Some(3605)), true),
            (item(true, Some(3606)), false),
            (item(true, Some(u64::MAX)), false),
            (item(true, None), false),
            (item(false, Some(0)), false),
        ] {
            assert_eq!(is_since(&item, since, now), wanted, "{item:?}");
        }
    }
}
