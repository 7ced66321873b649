//! What came of challenges: outcomes in the replicas' rows, statements, evidence, penalties,
//! demotions.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{corrupt, earnings, hash32};

/// What a proof has shown of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Missed,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Missed => "missed",
        }
    }
}

/// Partitions for statements of this day.
pub async fn keep_partitions(connection: &mut PgConnection, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query!(
        r#"SELECT audit_keep_partitions($1) AS "nothing: ()""#,
        now.to_sqlx() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes outcomes; returns those replicas that are still there. What is gone has been deleted while
/// it was asked for, and says nothing of its node.
pub async fn record_outcomes(
    connection: &mut PgConnection,
    node: NodeId,
    outcomes: &[(BlobId, Outcome)],
    now: Timestamp,
) -> sqlx::Result<HashSet<BlobId>> {
    let names: Vec<String> = outcomes
        .iter()
        .map(|(_, outcome)| outcome.name().to_owned())
        .collect();
    let rows = sqlx::query_scalar!(
        "UPDATE replicas r
         SET last_proof_at = $4, last_proof_outcome = o.outcome,
             suspect_since = CASE WHEN o.outcome = 'passed' THEN NULL ELSE suspect_since END,
             suspect_reason = CASE WHEN o.outcome = 'passed' THEN NULL ELSE suspect_reason END
         FROM unnest($2::bytea[], $3::text[]) AS o (blob_id, outcome)
         WHERE r.node_id = $1 AND r.blob_id = o.blob_id
         RETURNING r.blob_id",
        node.as_uuid(),
        &bytes(outcomes.iter().map(|(blob, _)| *blob)),
        &names,
        now.to_sqlx() as _,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|blob| Ok(BlobId::from_bytes(hash32("replicas.blob_id", blob)?)))
        .collect()
}

/// A replica that has been demoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demoted {
    pub blob_id: BlobId,
    pub size_bytes: u32,
}

/// Demotes replicas that are there and not demoted yet, under the lock of their chunks: they cease to
/// earn, and chunks that have too few healthy ones left are entered for repair. Files are locked, too,
/// so that none is deleted while what its replicas earn is taken back.
pub async fn demote(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<Vec<Demoted>> {
    let rows = sqlx::query!(
        "SELECT r.blob_id, c.file_id, c.chunk_index, c.size_bytes
         FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN files f USING (file_id)
         WHERE r.node_id = $1 AND r.blob_id = ANY($2) AND r.demoted_at IS NULL
         ORDER BY c.file_id, c.chunk_index FOR SHARE OF f FOR UPDATE OF c, r",
        node.as_uuid(),
        &bytes(blobs.iter().copied()),
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let demoted: Vec<Vec<u8>> = rows.iter().map(|row| row.blob_id.clone()).collect();
    let files: Vec<Uuid> = rows.iter().map(|row| row.file_id).collect();
    let indices: Vec<i32> = rows.iter().map(|row| row.chunk_index).collect();
    sqlx::query!(
        "UPDATE replicas SET demoted_at = $3, demoted_reason = $4
         WHERE node_id = $1 AND blob_id = ANY($2)",
        node.as_uuid(),
        &demoted,
        now.to_sqlx() as _,
        reason,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO chunks_to_repair (file_id, chunk_index, healthy, since)
         SELECT k.file_id, k.chunk_index, count(r.blob_id), $3
         FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::int[])) AS k (file_id, chunk_index)
         JOIN files f USING (file_id)
         LEFT JOIN replicas r ON r.file_id = k.file_id AND r.chunk_index = k.chunk_index
                             AND r.demoted_at IS NULL
         GROUP BY k.file_id, k.chunk_index, f.replication
         HAVING count(r.blob_id) < f.replication
         ON CONFLICT (file_id, chunk_index) DO UPDATE SET healthy = EXCLUDED.healthy",
        &files,
        &indices,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await?;
    let demoted = rows.iter().map(|row| {
        Ok(Demoted {
            blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
            size_bytes: row.size_bytes.unsigned_abs(),
        })
    });
    let demoted: Vec<Demoted> = demoted.collect::<sqlx::Result<_>>()?;
    for replica in &demoted {
        earnings::stop(connection, node, replica.blob_id, "demoted").await?;
    }
    // Those of an upload that is not complete have not begun to earn, and will not.
    sqlx::query!(
        "UPDATE replicas SET earns = false
         WHERE node_id = $1 AND blob_id = ANY($2) AND earns",
        node.as_uuid(),
        &bytes(demoted.iter().map(|replica| replica.blob_id)),
    )
    .execute(connection)
    .await?;
    Ok(demoted)
}

/// Chunks with too few healthy replicas, the fewest first.
pub async fn chunks_to_repair(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<Vec<(FileId, u32, u32)>> {
    let rows = sqlx::query!(
        "SELECT file_id, chunk_index, healthy FROM chunks_to_repair
         ORDER BY healthy, since LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    let chunk = |row: (Uuid, i32, i32)| {
        (
            FileId::from_uuid(row.0),
            row.1.unsigned_abs(),
            row.2.unsigned_abs(),
        )
    };
    Ok(rows
        .into_iter()
        .map(|row| chunk((row.file_id, row.chunk_index, row.healthy)))
        .collect())
}

/// What a node is charged for, or forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PenaltyKind {
    Failed,
    Missed,
    SelfReported,
    GivenBack { penalty: Uuid },
}

impl PenaltyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::SelfReported => "self_reported",
            Self::GivenBack { .. } => "given_back",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Penalty {
    pub id: Uuid,
    pub kind: PenaltyKind,
    pub blob_id: BlobId,
    pub size_bytes: u32,
    pub weight_ppm: u64,
    pub reason: String,
}

/// Charges a node. `interval_s` is the time that a challenge stands for.
pub async fn penalise(
    connection: &mut PgConnection,
    node: NodeId,
    penalties: &[Penalty],
    interval_s: i64,
    now: Timestamp,
) -> sqlx::Result<()> {
    if penalties.is_empty() {
        return Ok(());
    }
    let penalty_ids: Vec<Uuid> = penalties.iter().map(|p| p.id).collect();
    let kinds: Vec<String> = penalties.iter().map(|p| p.kind.name().to_owned()).collect();
    let lengths: Vec<i64> = penalties.iter().map(|p| i64::from(p.size_bytes)).collect();
    let weights: Vec<i64> = penalties
        .iter()
        .map(|p| i64::try_from(p.weight_ppm).unwrap_or(i64::MAX))
        .collect();
    let reasons: Vec<String> = penalties.iter().map(|p| p.reason.clone()).collect();
    let given_back: Vec<Option<Uuid>> = penalties
        .iter()
        .map(|p| match p.kind {
            PenaltyKind::GivenBack { penalty } => Some(penalty),
            _ => None,
        })
        .collect();
    sqlx::query!(
        "INSERT INTO audit_penalties (node_id, at, interval_s, penalty_id, kind, blob_id,
                                      length_bytes, weight_ppm, reason, gives_back)
         SELECT $1, $2, $3, * FROM unnest($4::uuid[], $5::text[], $6::bytea[], $7::bigint[],
                                          $8::bigint[], $9::text[], $10::uuid[])",
        node.as_uuid(),
        now.to_sqlx() as _,
        interval_s,
        &penalty_ids,
        &kinds,
        &bytes(penalties.iter().map(|p| p.blob_id)),
        &lengths,
        &weights,
        &reasons,
        &given_back as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The judgement over one message, as it is kept.
#[derive(Debug, Clone)]
pub struct KeptStatement {
    pub at: Timestamp,
    pub challenge_id: Uuid,
    pub node_id: NodeId,
    pub passed: u32,
    pub failed: u32,
    pub missed: u32,
    pub busy: u32,
    pub statement: Vec<u8>,
}

pub async fn insert_statement(
    connection: &mut PgConnection,
    kept: &KeptStatement,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_statements
             (at, challenge_id, node_id, passed, failed, missed, busy, statement)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        kept.at.to_sqlx() as _,
        kept.challenge_id,
        kept.node_id.as_uuid(),
        kept.passed as i16,
        kept.failed as i16,
        kept.missed as i16,
        kept.busy as i16,
        &kept.statement[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A node's statements, the newest first.
pub async fn statements(
    connection: &mut PgConnection,
    node: NodeId,
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<KeptStatement>> {
    let (at, id) = before.unzip();
    let rows = sqlx::query!(
        r#"SELECT at AS "at: jiff_sqlx::Timestamp", challenge_id, passed, failed, missed, busy,
                  statement
           FROM audit_statements
           WHERE node_id = $1
             AND ($2::timestamptz IS NULL OR at < $2 OR (at = $2 AND challenge_id > $3))
           ORDER BY at DESC, challenge_id LIMIT $4"#,
        node.as_uuid(),
        at.map(ToSqlx::to_sqlx) as _,
        id,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let statements = rows.into_iter().map(|row| KeptStatement {
        at: row.at.to_jiff(),
        challenge_id: row.challenge_id,
        node_id: node,
        passed: u32::from(row.passed.unsigned_abs()),
        failed: u32::from(row.failed.unsigned_abs()),
        missed: u32::from(row.missed.unsigned_abs()),
        busy: u32::from(row.busy.unsigned_abs()),
        statement: row.statement,
    });
    Ok(statements.collect())
}

/// What a node sent for a blob when it failed.
#[derive(Debug, Clone)]
pub struct KeptFailure {
    pub blob_id: BlobId,
    pub position: u32,
    pub reason: String,
    pub outcome: &'static str,
    pub proof_hash: Option<[u8; 32]>,
    pub duration_ms: u64,
    pub body: Vec<u8>,
}

pub async fn insert_failure(
    connection: &mut PgConnection,
    node: NodeId,
    challenge_id: Uuid,
    failure: &KeptFailure,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_failures (at, challenge_id, node_id, blob_id, position, reason, outcome,
                                     proof_hash, duration_ms, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        now.to_sqlx() as _,
        challenge_id,
        node.as_uuid(),
        &failure.blob_id.as_bytes()[..],
        failure.position as i16,
        failure.reason,
        failure.outcome,
        failure.proof_hash.as_ref().map(|hash| &hash[..]),
        i64::try_from(failure.duration_ms).unwrap_or(i64::MAX),
        &failure.body[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The last proof of a replica.
#[derive(Debug, Clone, Copy)]
pub struct LastProof {
    pub outcome: Outcome,
    pub at: Timestamp,
}

/// A replica as its file's owner may see it.
#[derive(Debug, Clone)]
pub struct ReplicaDurability {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    pub stored_at_ms: i64,
    pub node_state: String,
    pub node_last_seen_at: Option<Timestamp>,
    pub demoted_reason: Option<String>,
    pub last_proof: Option<LastProof>,
}

/// Healthy replicas of the file's chunk that has fewest; `None` when it has no chunks. A node counts
/// that is online or was seen since `seen_since`.
pub async fn fewest_healthy(
    connection: &mut PgConnection,
    file_id: FileId,
    online: &[NodeId],
    seen_since: Timestamp,
) -> sqlx::Result<Option<u32>> {
    let online: Vec<Uuid> = online.iter().map(NodeId::as_uuid).collect();
    let fewest = sqlx::query_scalar!(
        "SELECT min(healthy) FROM (
             SELECT count(r.blob_id) FILTER (
                        WHERE r.demoted_at IS NULL
                          AND (n.last_seen_at >= $2 OR n.node_id = ANY($3))
                          AND n.state NOT IN ('drained', 'disqualified')) AS healthy
             FROM chunks c LEFT JOIN replicas r USING (file_id, chunk_index)
                           LEFT JOIN nodes n USING (node_id)
             WHERE c.file_id = $1 GROUP BY c.chunk_index) AS chunk",
        file_id.as_uuid(),
        seen_since.to_sqlx() as _,
        &online,
    )
    .fetch_one(connection)
    .await?;
    Ok(fewest.map(|healthy| u32::try_from(healthy).unwrap_or(0)))
}

/// Replicas of `count` chunks from `first` on, in order of chunk.
pub async fn durability(
    connection: &mut PgConnection,
    file_id: FileId,
    first: u32,
    count: u32,
) -> sqlx::Result<Vec<(u32, Option<ReplicaDurability>)>> {
    let rows = sqlx::query!(
        r#"SELECT c.chunk_index, r.node_id AS "node_id?", r.blob_id AS "blob_id?",
                  r.stored_at_ms AS "stored_at_ms?", n.state AS "state?",
                  n.last_seen_at AS "last_seen_at: jiff_sqlx::Timestamp", r.demoted_reason,
                  r.last_proof_at AS "last_proof_at: jiff_sqlx::Timestamp", r.last_proof_outcome
           FROM chunks c LEFT JOIN replicas r USING (file_id, chunk_index)
                         LEFT JOIN nodes n USING (node_id)
           WHERE c.file_id = $1 AND c.chunk_index >= $2 AND c.chunk_index < $3
           ORDER BY c.chunk_index, r.node_id"#,
        file_id.as_uuid(),
        first as i32,
        first.saturating_add(count).min(i32::MAX as u32) as i32,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let index = row.chunk_index.unsigned_abs();
            let (Some(node_id), Some(blob_id)) = (row.node_id, row.blob_id) else {
                return Ok((index, None));
            };
            let outcome = match row.last_proof_outcome.as_deref() {
                None => None,
                Some("passed") => Some(Outcome::Passed),
                Some("failed") => Some(Outcome::Failed),
                Some("missed") => Some(Outcome::Missed),
                Some(other) => return Err(corrupt("replicas.last_proof_outcome", other)),
            };
            let replica = ReplicaDurability {
                node_id: NodeId::from_uuid(node_id),
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &blob_id)?),
                stored_at_ms: row.stored_at_ms.unwrap_or(0),
                node_state: row.state.unwrap_or_default(),
                node_last_seen_at: row.last_seen_at.map(jiff_sqlx::Timestamp::to_jiff),
                demoted_reason: row.demoted_reason,
                last_proof: outcome
                    .zip(row.last_proof_at)
                    .map(|(outcome, at)| LastProof {
                        outcome,
                        at: at.to_jiff(),
                    }),
            };
            Ok((index, Some(replica)))
        })
        .collect()
}

fn bytes(blobs: impl Iterator<Item = BlobId>) -> Vec<Vec<u8>> {
    blobs.map(|blob| blob.as_bytes().to_vec()).collect()
}
