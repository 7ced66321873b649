//! Whether nodes hold what they have just signed for, and signed for what they were sent.

use jiff::Timestamp;
use proto::NodeId;

use crate::proofs::{Proofs, tables};

/// A newcomer that keeps nothing is found within seconds, and not in its first round, which may be hours away.
const FRESH: &str = "a receipt of a node on probation";

/// Looks at the receipts since the last look.
pub async fn check(proofs: &Proofs, now: Timestamp) -> sqlx::Result<()> {
    let receipts = &proofs.blobs.receipts;
    let mut written = Ok(());
    for (node, forged) in receipts.take_forged() {
        match hold_against(proofs, node, forged, now).await {
            Ok(()) => tracing::warn!(node_id = %node, forged,
                "a node signed receipts for other blobs than it was sent: it gets nothing new for hours"),
            Err(error) => {
                receipts.put_back_forged(node, forged);
                written = Err(error);
            }
        }
    }
    written?;
    let fresh = receipts.fresh();
    if fresh.is_empty() {
        return Ok(());
    }
    let mut connection = proofs.db.acquire().await?;
    let asked = tables::follow_ups::challenge(&mut connection, &fresh, FRESH, now).await?;
    receipts.are_asked(&asked);
    Ok(())
}

async fn hold_against(
    proofs: &Proofs,
    node: NodeId,
    forged: u64,
    now: Timestamp,
) -> sqlx::Result<()> {
    let mut transaction = proofs.db.begin().await?;
    let fleet = &proofs.blobs.fleet;
    let states = &proofs.node_states;
    states
        .forged_receipts(fleet, &mut transaction, node, forged, now)
        .await?;
    transaction.commit().await
}
