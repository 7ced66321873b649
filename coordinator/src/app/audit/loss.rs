//! A node says by itself that it has lost blobs.

use jiff::Timestamp;
use proto::{BlobId, LossNoted, LossReport, NodeId, PeerId};

use crate::app::{App, adopt};
use crate::clock;
use crate::db;
use crate::db::audit_results::{Penalty, PenaltyKind};
use crate::domain::audit::WEIGHT_ONE;
use crate::domain::ids::uuid_v7;

/// Replicas that one transaction demotes: their chunks stay locked until it ends.
const AT_ONE_TIME: usize = 100;

/// `report-loss`: notes what the node reports, and acknowledges what has been committed. `None` when
/// the peer is no member, another report of its is being worked on, or adopt mode stands: it reports again.
pub async fn take_report(
    app: &App,
    peer: PeerId,
    report: &LossReport,
    now: Timestamp,
) -> sqlx::Result<Option<LossNoted>> {
    let Some(member) = app.fleet.member_of_peer(&peer) else {
        return Ok(None);
    };
    let Some(_turn) = member.report_turn() else {
        return Ok(None);
    };
    if adopt::stands(&app.db).await? {
        return Ok(None);
    }
    let mut acknowledged = 0;
    for blobs in report.blob_ids.chunks(AT_ONE_TIME) {
        match reported(app, member.node_id, blobs, &report.reason, now).await {
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

/// Demotes the replicas that it reports and charges for each, which is less than being caught. What
/// is not there, or demoted already, is passed over: a report that comes twice counts once.
pub async fn reported(
    app: &App,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<usize> {
    let mut transaction = app.db.begin().await?;
    let why = "its node reported it lost";
    let lost = db::audit_results::demote(&mut transaction, node, blobs, why, now).await?;
    let penalties: Vec<Penalty> = lost
        .iter()
        .map(|replica| Penalty {
            id: uuid_v7(now, &mut clock::rng()),
            kind: PenaltyKind::SelfReported,
            blob_id: replica.blob_id,
            size_bytes: replica.size_bytes,
            weight_ppm: WEIGHT_ONE,
            reason: reason.to_owned(),
        })
        .collect();
    let interval_s = i64::try_from(app.config.proofs.interval.as_secs().max(1)).unwrap_or(i64::MAX);
    db::audit_results::penalise(&mut transaction, node, &penalties, interval_s, now).await?;
    let settled: Vec<BlobId> = lost.iter().map(|replica| replica.blob_id).collect();
    db::audit_schedule::end_follow_ups(&mut transaction, node, &settled).await?;
    transaction.commit().await?;
    if !lost.is_empty() {
        app.repair.nudge.notify_one();
        tracing::warn!(node_id = %node, replicas = lost.len(), reason, "a node reports a loss");
    }
    Ok(lost.len())
}
