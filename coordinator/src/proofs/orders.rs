//! Orders to delete that nodes show for blobs that they lack: what a coordinator has ordered is not held against a
//! node that obeyed.
//!
//! Three things have to be true of an order. One of this network's coordinators signed it, a present or a former one.
//! It came after the node signed for the blob. And the node has not proven the blob since: after a restore from the
//! trash, or a second upload, the node holds it again, and an old order is no excuse for losing it then.

use std::collections::{HashMap, HashSet};

use crate::database::Pool;
use proto::{BlobId, NetworkId, NodeId, PeerId, SignedOrder};

use crate::keys;
use crate::proofs::tables::audit_results;
use rules::judging::excuses;

/// Whose orders to whom.
#[derive(Debug, Clone, Copy)]
pub struct To {
    pub network_id: NetworkId,
    pub node: NodeId,
    pub peer: PeerId,
}

/// Those of the orders that are good, and the blobs of these that they excuse the node for.
pub async fn excused(
    db: &Pool,
    to: To,
    missing: &[BlobId],
    orders: &[SignedOrder],
) -> sqlx::Result<(Vec<SignedOrder>, HashSet<BlobId>)> {
    let signed = |shown: &&SignedOrder| {
        let parties = shown.order.parties();
        parties.network_id == to.network_id
            && parties.node == to.peer
            && missing.iter().any(|blob| shown.order.takes_away(blob))
            && shown.verify().is_ok()
    };
    let mut good: Vec<SignedOrder> = orders.iter().filter(signed).cloned().collect();
    if good.is_empty() {
        return Ok((good, HashSet::new()));
    }
    let signers: Vec<String> = good
        .iter()
        .map(|shown| shown.order.parties().coordinator.to_string())
        .collect();
    let mut connection = db.acquire().await?;
    let coordinators = keys::tables::network::present_or_former(&mut connection, &signers).await?;
    let mut signer = signers.iter();
    good.retain(|_| {
        signer
            .next()
            .is_some_and(|signer| coordinators.contains(signer))
    });
    let held = audit_results::held_since(&mut connection, to.node, missing).await?;
    let held: HashMap<BlobId, _> = held.into_iter().map(|held| (held.blob_id, held)).collect();
    let is_excused = |blob: &&BlobId| {
        held.get(blob).is_some_and(|held| {
            let mut orders = good.iter().map(|shown| &shown.order);
            let proven_at = held.proven_at.map(|at| at.as_millisecond().unsigned_abs());
            orders.any(|order| {
                order.takes_away(blob)
                    && excuses(order.issued_at_ms(), held.stored_at_ms, proven_at)
            })
        })
    };
    let excused = missing.iter().filter(is_excused).copied().collect();
    Ok((good, excused))
}
