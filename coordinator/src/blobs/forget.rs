//! Tells nodes what to forget, from the outbox, until each has acknowledged.

use std::sync::Arc;
use std::time::Duration;

use kit::{Job, Step};
use proto::{Delete, Deletion, DeletionOutcome, MAX_DELETIONS_PER_MESSAGE, NodeId};

use crate::blobs::{Blobs, tables};

/// Until a node that did not acknowledge is told again; doubled with each attempt.
const PURGE_LEASE: Duration = Duration::from_secs(30);

/// Tells each node that is here what it has to forget.
pub struct Purge(pub Arc<Blobs>);

impl Job for Purge {
    const NAME: &'static str = "purge";

    async fn step(&self) -> anyhow::Result<Step> {
        tell_nodes(&self.0).await
    }
}

async fn tell_nodes(blobs: &Blobs) -> anyhow::Result<Step> {
    let online: Vec<NodeId> = blobs
        .fleet
        .online()
        .iter()
        .map(|member| member.node_id)
        .collect();
    let due = {
        let mut connection = blobs.db.acquire().await?;
        tables::purges::nodes_with_due(&mut connection, &online).await?
    };
    let rounds = due.iter().map(|node| purge_on(blobs, *node));
    let outcomes = futures::future::join_all(rounds).await;
    let mut step = Step::Idle;
    for outcome in outcomes {
        if outcome? == Step::More {
            step = Step::More;
        }
    }
    Ok(step)
}

async fn purge_on(blobs: &Blobs, node: NodeId) -> anyhow::Result<Step> {
    let Some(member) = blobs.fleet.member(node) else {
        return Ok(Step::Idle);
    };
    let limit = MAX_DELETIONS_PER_MESSAGE as i64;
    let batch = {
        let mut connection = blobs.db.acquire().await?;
        tables::purges::take_due(&mut connection, node, limit, PURGE_LEASE).await?
    };
    if batch.is_empty() {
        return Ok(Step::Idle);
    }
    let deletions = batch.iter().map(|purge| Deletion {
        blob_id: purge.blob_id,
        mode: purge.mode,
    });
    let order = blobs
        .keys
        .order(member.peer_id, deletions.collect(), blobs.clock.now())?;
    let network = blobs.fleet.network();
    let answer = network.call::<Delete>(member.peer_id, order).await;
    let outcomes = match answer {
        Ok(outcomes) if outcomes.0.len() == batch.len() => outcomes.0,
        Ok(_) => {
            tracing::warn!(node_id = %node, "a node answered another number of deletions than it was sent");
            return Ok(Step::Idle);
        }
        Err(error) => {
            tracing::debug!(node_id = %node, %error, "a node could not be told what to forget");
            return Ok(Step::Idle);
        }
    };
    let deferred = outcomes.iter().filter(|o| **o == DeletionOutcome::Deferred);
    blobs
        .metrics
        .purges_deferred
        .inc_by(deferred.count() as u64);
    // What a node has put off it does by itself when the time has come.
    let done: Vec<_> = batch
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| *outcome != DeletionOutcome::Failed)
        .map(|(purge, _)| purge.blob_id)
        .collect();
    let mut connection = blobs.db.acquire().await?;
    tables::purges::acknowledge(&mut connection, node, &done).await?;
    blobs.metrics.purges_done.inc_by(done.len() as u64);
    let full = batch.len() as i64 == limit;
    Ok(if full { Step::More } else { Step::Idle })
}
