//! Replicas that do not count any more.

use jiff::Timestamp;
use proto::{BlobId, NodeId};
use sqlx::PgConnection;

use crate::facts::{Fact, Facts};
use crate::proofs::tables;
use crate::proofs::tables::audit_results::Demoted;

/// Demotes replicas that are there and not demoted yet, under the lock of their chunks: they cease to earn, and
/// whoever looks after chunks is told. Files are locked, too, so that none is deleted while what its replicas
/// earn is taken back.
pub async fn demote(
    connection: &mut PgConnection,
    facts: &Facts,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<Vec<Demoted>> {
    let demoted = tables::audit_results::demote(connection, node, blobs, reason, now).await?;
    let (demoted, chunks) = demoted;
    if !chunks.is_empty() {
        let fact = Fact::ReplicasLost { chunks: &chunks };
        facts.tell(connection, fact).await?;
    }
    Ok(demoted)
}
