//! Nodes whose brake is on: somebody has ordered more to be deleted than they remove in a day.
//!
//! It may be a user who deleted much, and it may be a thief of a coordinator's key; people have to look while the
//! blobs can still be brought back. So it is an error in the log once for each node, a gauge for alerts, and a row
//! for `coordinator admin purges`.

use std::collections::HashSet;
use std::sync::Arc;

use kit::{Job, Step};
use proto::{DeferredPurges, NodeId};

use crate::blobs::{Blobs, tables};

/// Writes down which nodes here have put purges off.
pub struct WatchBrakes(pub Arc<Blobs>);

impl Job for WatchBrakes {
    const NAME: &'static str = "watch-brakes";

    async fn step(&self) -> anyhow::Result<Step> {
        watch(&self.0).await?;
        Ok(Step::Idle)
    }
}

async fn watch(blobs: &Blobs) -> sqlx::Result<()> {
    let online = blobs.fleet.online();
    let told = online
        .iter()
        .map(|member| (member.node_id, member.live().deferred));
    let (braked, free): (Vec<_>, Vec<_>) = told.partition(|(_, deferred)| deferred.blobs > 0);
    let free: Vec<NodeId> = free.into_iter().map(|(node, _)| node).collect();
    let mut connection = blobs.db.acquire().await?;
    let new = tables::brakes::note(&mut connection, &braked, &free).await?;
    drop(connection);
    report(&braked, &new);
    let sum = braked.iter().map(|(_, deferred)| deferred.blobs);
    let sum = sum.fold(0, u64::saturating_add);
    let metrics = &blobs.metrics;
    metrics
        .deferred_purges
        .set(i64::try_from(sum).unwrap_or(i64::MAX));
    metrics.braked_nodes.set(braked.len() as i64);
    Ok(())
}

fn report(braked: &[(NodeId, DeferredPurges)], new: &[NodeId]) {
    let new: HashSet<&NodeId> = new.iter().collect();
    for (node, deferred) in braked.iter().filter(|(node, _)| new.contains(node)) {
        tracing::error!(
            node_id = %node, blobs = deferred.blobs,
            "a node was ordered to delete more than it removes in a day, and has put the rest off for 72 h. If \
             nobody meant to delete so much, a coordinator's key may be in other hands: see `coordinator admin \
             purges list`; `coordinator admin purges undo --since <time>` brings it back"
        );
    }
}
