//! `audit_statements` and `audit_failures`, read again: one challenge to a node, and what it sent when it failed.

use proto::{ChallengeId, NodeId, ProofHash};
use sqlx::PgConnection;

use crate::database::{corrupt, hash32};

/// The statement on this challenge to this node, if it is still kept.
pub async fn statement(
    connection: &mut PgConnection,
    node: NodeId,
    challenge: ChallengeId,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT statement FROM audit_statements WHERE node_id = $1 AND challenge_id = $2",
        node.as_uuid(),
        challenge.as_uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// What a node sent for one blob, as it is kept.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of the blob in the challenge.
    pub position: u32,
    /// What the node said: `proven`, `missing`, `corrupt`.
    pub outcome: String,
    pub proof_hash: Option<ProofHash>,
    pub duration_ms: u64,
    pub body: Vec<u8>,
}

/// In the order of the challenge.
pub async fn failures(
    connection: &mut PgConnection,
    node: NodeId,
    challenge: ChallengeId,
) -> sqlx::Result<Vec<Failure>> {
    let rows = sqlx::query!(
        "SELECT position, outcome, proof_hash, duration_ms, body FROM audit_failures
         WHERE node_id = $1 AND challenge_id = $2 ORDER BY position",
        node.as_uuid(),
        challenge.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let proof_hash = row
                .proof_hash
                .map(|hash| hash32("audit_failures.proof_hash", &hash));
            let position = u32::try_from(row.position);
            Ok(Failure {
                position: position.map_err(|error| corrupt("audit_failures.position", error))?,
                outcome: row.outcome,
                proof_hash: proof_hash.transpose()?.map(ProofHash::from_bytes),
                duration_ms: row.duration_ms.unsigned_abs(),
                body: row.body,
            })
        })
        .collect()
}
