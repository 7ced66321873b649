//! What nodes that are out hold counts no longer, and what nodes hold that were restored counts again.

use jiff::Timestamp;

use crate::durability::Durability;
use crate::facts::Fact;
use crate::{fleet, proofs};

/// Demotes some replicas of nodes that are out, or lets some of nodes that are back count again. `true`
/// when there may be more.
pub async fn demote_some(durability: &Durability, now: Timestamp) -> anyhow::Result<bool> {
    const BATCH: i64 = 500;
    let mut transaction = durability.db.begin().await?;
    let batch = fleet::tables::node_status::take_demotions(&mut transaction, BATCH).await?;
    let Some(batch) = batch else { return Ok(false) };
    let (node, blobs, reason) = (batch.node_id, &batch.blobs, &batch.reason);
    if batch.undo {
        let back =
            proofs::tables::audit_results::promote(&mut transaction, node, blobs, reason).await?;
        let gained = Fact::ReplicasGained { node }; // there may be too many now
        durability.facts.tell(&mut transaction, gained).await?;
        transaction.commit().await?;
        tracing::info!(node_id = %node, replicas = back, "replicas of a restored node count again");
    } else {
        let out = proofs::demotion::demote(
            &mut transaction,
            &durability.facts,
            node,
            blobs,
            reason,
            now,
        )
        .await?;
        transaction.commit().await?;
        let replicas = out.len();
        tracing::info!(node_id = %node, replicas, "demoted replicas of a node that is out");
    }
    durability.repair.wake.wake();
    Ok(true)
}
