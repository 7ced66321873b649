//! A node says by itself that it has lost blobs.

use jiff::Timestamp;
use proto::{BlobId, LossNoted, LossReport, NodeId, PeerId};

use crate::fleet;
use crate::proofs::audit::count_replicas;
use crate::proofs::demotion::demote;
use crate::proofs::{Proofs, tables};

use crate::proofs::tables::audit_results::{Penalty, PenaltyKind};
use model::ids::uuid_v7;
use rules::audit::WEIGHT_ONE;

/// Replicas that one transaction demotes: their chunks stay locked until it ends.
const AT_ONE_TIME: usize = 100;

/// `report-loss`: notes what the node reports, and acknowledges what has been committed. `None` when
/// the peer is no member, another report of its is being worked on, or restore mode stands: it reports again.
pub async fn take_report(
    proofs: &Proofs,
    peer: PeerId,
    report: &LossReport,
    now: Timestamp,
) -> sqlx::Result<Option<LossNoted>> {
    let Some(member) = proofs.blobs.fleet.member_of_peer(&peer) else {
        return Ok(None);
    };
    let Some(_turn) = member.report_turn() else {
        return Ok(None);
    };
    let mut connection = proofs.db.acquire().await?;
    if fleet::tables::awaiting_restore::stands(&mut connection).await? {
        return Ok(None);
    }
    drop(connection);
    let mut acknowledged = 0;
    for blobs in report.blob_ids.chunks(AT_ONE_TIME) {
        match reported(proofs, member.node_id, blobs, &report.reason, now).await {
            Ok(_) => acknowledged += blobs.len() as u32,
            Err(error) if acknowledged == 0 => return Err(error),
            Err(error) => {
                tracing::warn!(node_id = %member.node_id, %error, "a part of a loss was not noted");
                break;
            }
        }
    }
    Ok(Some(LossNoted { acknowledged }))
}

/// Demotes the replicas that it reports and charges for each, which is less than being caught; its score falls by half
/// as much, and beyond a hundredth of its blobs it gets nothing new for hours. What is not there, or demoted already,
/// is passed over: a report that comes twice counts once.
pub async fn reported(
    proofs: &Proofs,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<usize> {
    let mut transaction = proofs.db.begin().await?;
    let why = tables::audit_schedule::REPORTED_LOST;
    let lost = demote(&mut transaction, &proofs.facts, node, blobs, why, now).await?;
    if lost.is_empty() {
        return Ok(0);
    }
    let penalties: Vec<Penalty> = lost
        .iter()
        .map(|replica| Penalty {
            id: uuid_v7(now, &mut proofs.entropy.rng()),
            kind: PenaltyKind::SelfReported,
            blob_id: replica.blob_id,
            size_bytes: replica.size_bytes,
            weight_ppm: WEIGHT_ONE,
            reason: reason.to_owned(),
        })
        .collect();
    let interval_s = i64::try_from(proofs.config.interval.as_secs().max(1)).unwrap_or(i64::MAX);
    tables::audit_results::penalise(&mut transaction, node, &penalties, interval_s, now).await?;
    let settled: Vec<BlobId> = lost.iter().map(|replica| replica.blob_id).collect();
    tables::follow_ups::end_follow_ups(&mut transaction, node, &settled).await?;
    let before = tables::audit_schedule::estimated_replicas(&mut transaction, node).await?;
    let held = count_replicas(
        &mut transaction,
        node,
        before.unwrap_or(0),
        &mut proofs.entropy.rng(),
    )
    .await?;
    let share = (lost.len() as u64, held);
    proofs
        .node_states
        .told_of_losses(&proofs.blobs.fleet, &mut transaction, node, share, now)
        .await?;
    transaction.commit().await?;
    proofs.repair_wake.wake();
    tracing::warn!(node_id = %node, replicas = lost.len(), reason, "a node reports a loss");
    Ok(lost.len())
}
