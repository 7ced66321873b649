//! `audit_follow_ups`: what is asked of nodes out of turn, and when.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};

/// How a replica is asked for out of turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Challenge,
    WholeBlob,
}

impl Ask {
    const fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::WholeBlob => "whole_blob",
        }
    }

    pub(super) fn from_name(name: &str) -> sqlx::Result<Self> {
        match name {
            "challenge" => Ok(Self::Challenge),
            "whole_blob" => Ok(Self::WholeBlob),
            other => Err(corrupt("audit_follow_ups.ask", other)),
        }
    }
}

/// A replica that is asked for out of turn.
#[derive(Debug, Clone)]
pub struct FollowUp {
    pub blob_id: BlobId,
    pub ask: Ask,
    pub due_at: Timestamp,
    /// Times that the whole blob was asked for in vain; of a challenge, that the node was busy.
    pub attempts: u32,
    pub drawn: bool,
    pub weight_ppm: u64,
    pub penalty_id: Option<Uuid>,
    pub reason: String,
}

/// Replicas are to be looked at as soon as can be: they were read in vain, or their node does not list
/// them. One that is being looked at already is passed over, and so is one that is demoted; but where a read was in
/// vain, no proof settles it any more: the whole blob has to come.
pub async fn look_at(
    connection: &mut PgConnection,
    ask: Ask,
    suspicions: &[(NodeId, BlobId, &'static str)],
    now: Timestamp,
) -> sqlx::Result<()> {
    let nodes: Vec<Uuid> = suspicions.iter().map(|(node, ..)| node.as_uuid()).collect();
    let blobs = ids(suspicions.iter().map(|(_, blob, _)| *blob));
    let reasons: Vec<String> = suspicions.iter().map(|s| s.2.to_owned()).collect();
    sqlx::query!(
        "WITH added AS (
             INSERT INTO audit_follow_ups AS f
                 (node_id, blob_id, ask, due_at, drawn, weight_ppm, reason)
             SELECT DISTINCT ON (r.node_id, r.blob_id)
                    r.node_id, r.blob_id, $5::text, $4::timestamptz, false, 1000000, s.reason
             FROM unnest($1::uuid[], $2::bytea[], $3::text[]) AS s (node_id, blob_id, reason)
             JOIN replicas r ON r.node_id = s.node_id AND r.blob_id = s.blob_id
             WHERE r.demoted_at IS NULL
             ON CONFLICT (node_id, blob_id) DO UPDATE
             SET ask = EXCLUDED.ask, due_at = least(f.due_at, EXCLUDED.due_at), penalty_id = NULL,
                 reason = EXCLUDED.reason
             WHERE EXCLUDED.ask = 'whole_blob'
               AND (f.ask <> 'whole_blob' OR (f.penalty_id IS NOT NULL AND f.attempts = 0))
             RETURNING node_id)
         UPDATE audit_schedule SET follow_up_at = least(follow_up_at, $4)
         WHERE node_id IN (SELECT node_id FROM added)",
        &nodes,
        &blobs,
        &reasons,
        now.to_sqlx() as _,
        ask.name(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of these replicas that have their rows are challenged now, and are returned. One that is asked for already
/// is left as it is.
pub async fn challenge(
    connection: &mut PgConnection,
    replicas: &[(NodeId, BlobId)],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<Vec<(NodeId, BlobId)>> {
    let nodes: Vec<Uuid> = replicas.iter().map(|(node, _)| node.as_uuid()).collect();
    let blobs = ids(replicas.iter().map(|(_, blob)| *blob));
    let rows = sqlx::query!(
        r#"WITH found AS (
               SELECT DISTINCT r.node_id, r.blob_id, r.demoted_at IS NULL AS counts
               FROM unnest($1::uuid[], $2::bytea[]) AS s (node_id, blob_id)
               JOIN replicas r ON r.node_id = s.node_id AND r.blob_id = s.blob_id),
           added AS (
               INSERT INTO audit_follow_ups (node_id, blob_id, ask, due_at, drawn, weight_ppm, reason)
               SELECT node_id, blob_id, 'challenge', $3::timestamptz, false, 1000000, $4::text
               FROM found WHERE counts
               ON CONFLICT (node_id, blob_id) DO NOTHING RETURNING node_id),
           due AS (
               UPDATE audit_schedule SET follow_up_at = least(follow_up_at, $3::timestamptz)
               WHERE node_id IN (SELECT node_id FROM added))
           SELECT node_id AS "node_id!", blob_id AS "blob_id!" FROM found"#,
        &nodes,
        &blobs,
        now.to_sqlx() as _,
        reason,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let blob = hash32("replicas.blob_id", &row.blob_id)?;
            Ok((NodeId::from_uuid(row.node_id), BlobId::from_bytes(blob)))
        })
        .collect()
}

impl FollowUp {
    /// A proof was asked for, and the node was too busy.
    pub const fn was_busy(&self) -> bool {
        self.attempts > 0
    }
}

/// Adds follow-ups, or moves on those that are there.
pub async fn set_follow_ups(
    connection: &mut PgConnection,
    node: NodeId,
    follow_ups: &[FollowUp],
) -> sqlx::Result<()> {
    if follow_ups.is_empty() {
        return Ok(());
    }
    let blobs: Vec<Vec<u8>> = ids(follow_ups.iter().map(|f| f.blob_id));
    let asks: Vec<String> = follow_ups.iter().map(|f| f.ask.name().to_owned()).collect();
    let due: Vec<jiff_sqlx::Timestamp> = follow_ups.iter().map(|f| f.due_at.to_sqlx()).collect();
    let attempts: Vec<i32> = follow_ups.iter().map(|f| f.attempts as i32).collect();
    let drawn: Vec<bool> = follow_ups.iter().map(|f| f.drawn).collect();
    let weights: Vec<i64> = follow_ups
        .iter()
        .map(|f| i64::try_from(f.weight_ppm).unwrap_or(i64::MAX))
        .collect();
    let penalties: Vec<Option<Uuid>> = follow_ups.iter().map(|f| f.penalty_id).collect();
    let reasons: Vec<String> = follow_ups.iter().map(|f| f.reason.clone()).collect();
    sqlx::query!(
        "INSERT INTO audit_follow_ups
             (node_id, blob_id, ask, due_at, attempts, drawn, weight_ppm, penalty_id, reason)
         SELECT $1, * FROM unnest($2::bytea[], $3::text[], $4::timestamptz[], $5::int[],
                                  $6::boolean[], $7::bigint[], $8::uuid[], $9::text[])
         ON CONFLICT (node_id, blob_id) DO UPDATE
         SET ask = EXCLUDED.ask, due_at = EXCLUDED.due_at, attempts = EXCLUDED.attempts,
             penalty_id = EXCLUDED.penalty_id, reason = EXCLUDED.reason",
        node.as_uuid(),
        &blobs,
        &asks,
        &due as _,
        &attempts,
        &drawn,
        &weights,
        &penalties as &[Option<Uuid>],
        &reasons,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn end_follow_ups(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
) -> sqlx::Result<()> {
    if blobs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM audit_follow_ups WHERE node_id = $1 AND blob_id = ANY($2)",
        node.as_uuid(),
        &ids(blobs.iter().copied()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Follow-ups that are due, with the size of the plaintext that each holds; `None` when the replica has gone
/// or been demoted meanwhile.
pub async fn due_follow_ups(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<(FollowUp, Option<u32>)>> {
    let rows = sqlx::query!(
        r#"SELECT f.blob_id, f.ask, f.due_at AS "due_at: jiff_sqlx::Timestamp", f.attempts, f.drawn,
                  f.weight_ppm, f.penalty_id, f.reason, piece_bytes(c.size_bytes, files.data_pieces) AS "size_bytes?"
           FROM audit_follow_ups f
           LEFT JOIN replicas r ON r.node_id = f.node_id AND r.blob_id = f.blob_id
                               AND r.demoted_at IS NULL
           LEFT JOIN chunks c ON c.file_id = r.file_id AND c.chunk_index = r.chunk_index
           LEFT JOIN files ON files.file_id = r.file_id
           WHERE f.node_id = $1 AND f.due_at <= $2 ORDER BY f.due_at LIMIT $3"#,
        node.as_uuid(),
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let follow_up = FollowUp {
                blob_id: BlobId::from_bytes(hash32("audit_follow_ups.blob_id", &row.blob_id)?),
                ask: Ask::from_name(&row.ask)?,
                due_at: row.due_at.to_jiff(),
                attempts: row.attempts.unsigned_abs(),
                drawn: row.drawn,
                weight_ppm: row.weight_ppm.unsigned_abs(),
                penalty_id: row.penalty_id,
                reason: row.reason,
            };
            Ok((follow_up, row.size_bytes.map(i32::unsigned_abs)))
        })
        .collect()
}

fn ids(blobs: impl Iterator<Item = BlobId>) -> Vec<Vec<u8>> {
    blobs.map(|blob| blob.as_bytes().to_vec()).collect()
}
