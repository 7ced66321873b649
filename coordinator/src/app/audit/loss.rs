//! A node says by itself that it has lost blobs.

use jiff::Timestamp;
use proto::{BlobId, NodeId};

use crate::app::App;
use crate::clock;
use crate::db;
use crate::db::audit_results::{Penalty, PenaltyKind};
use crate::domain::audit::WEIGHT_ONE;
use crate::domain::ids::uuid_v7;

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
        tracing::warn!(node_id = %node, replicas = lost.len(), reason, "a node reports a loss");
    }
    Ok(lost.len())
}
