//! What came of challenges: outcomes in the replicas' rows, statements, evidence, penalties,
//! demotions.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, FileId, NodeId, SignedOrder};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::billing::tables::earnings;
use crate::blobs::tables::chunks::piece_number;
use crate::database::{corrupt, hash32};
use crate::proofs::tables::receipts::ChunkContent;
use crate::proofs::tables::shown_orders;
use sealing::ChunkRef;

/// Why replicas do not count any more whose nodes were ordered to delete them.
pub const ORDERED: &str = "a coordinator ordered its node to delete it";

/// What asking has shown of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Missed,
    /// Its whole blob came, which proves nothing and leaves the last proof as it was: it can be read.
    Read,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::Read => "read",
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

/// Notes outcomes; returns those replicas that are still there. What is gone has been deleted while it was asked
/// for, and says nothing of its node. Only what came whole is suspect no more: a node may prove a blob and give
/// another.
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
         SET last_proof_at = CASE WHEN o.outcome = 'read' THEN last_proof_at ELSE $4::timestamptz END,
             last_proof_outcome = CASE WHEN o.outcome = 'read' THEN last_proof_outcome ELSE o.outcome END,
             suspect_since = CASE WHEN o.outcome = 'read' THEN NULL ELSE suspect_since END,
             suspect_reason = CASE WHEN o.outcome = 'read' THEN NULL ELSE suspect_reason END
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

/// Since when a node has a replica, by its own words.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub blob_id: BlobId,
    /// By its receipt.
    pub stored_at_ms: u64,
    /// When it proved it last, if its last proof was a good one.
    pub proven_at: Option<Timestamp>,
}

/// Of those of the blobs that rows name on the node.
pub async fn held_since(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
) -> sqlx::Result<Vec<Held>> {
    let rows = sqlx::query!(
        r#"SELECT blob_id, stored_at_ms,
                  CASE WHEN last_proof_outcome = 'passed' THEN last_proof_at END
                      AS "proven_at: jiff_sqlx::Timestamp"
           FROM replicas WHERE node_id = $1 AND blob_id = ANY($2)"#,
        node.as_uuid(),
        &bytes(blobs.iter().copied()),
    )
    .fetch_all(connection)
    .await?;
    let held = rows.into_iter().map(|row| {
        Ok(Held {
            blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
            stored_at_ms: row.stored_at_ms.unsigned_abs(),
            proven_at: row.proven_at.map(jiff_sqlx::Timestamp::to_jiff),
        })
    });
    held.collect()
}

/// A replica that has been demoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demoted {
    pub blob_id: BlobId,
    pub size_bytes: u32,
}

/// Demotes replicas that are there and not demoted yet, under the lock of their chunks, which are returned, too:
/// they cease to earn. Files are locked, too,
/// so that none is deleted while what its replicas earn is taken back.
pub async fn demote(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<(Vec<Demoted>, Vec<ChunkRef>)> {
    if blobs.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let rows = sqlx::query!(
        "SELECT r.blob_id, c.file_id, c.chunk_index, piece_bytes(c.size_bytes, f.data_pieces) AS \"size_bytes!\"
         FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN files f USING (file_id)
         WHERE r.node_id = $1 AND r.blob_id = ANY($2) AND r.demoted_at IS NULL
         ORDER BY c.file_id, c.chunk_index FOR SHARE OF f FOR UPDATE OF c, r",
        node.as_uuid(),
        &bytes(blobs.iter().copied()),
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let demoted: Vec<Vec<u8>> = rows.iter().map(|row| row.blob_id.clone()).collect();
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
    let chunks = rows.iter().map(|row| ChunkRef {
        file_id: FileId::from_uuid(row.file_id),
        index: row.chunk_index.unsigned_abs(),
    });
    let chunks: Vec<ChunkRef> = chunks.collect();
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
    Ok((demoted, chunks))
}

/// Lets replicas count again that were demoted for this reason, under the locks that [`demote`] takes. They
/// earn again where fewer than were promised do; what that makes of their chunks is for repair to see. How
/// many they are.
pub async fn promote(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
    reason: &str,
) -> sqlx::Result<usize> {
    let rows = sqlx::query!(
        "SELECT r.blob_id, f.state
         FROM replicas r JOIN chunks c USING (file_id, chunk_index) JOIN files f USING (file_id)
         WHERE r.node_id = $1 AND r.blob_id = ANY($2) AND r.demoted_reason = $3
         ORDER BY c.file_id, c.chunk_index FOR SHARE OF f FOR UPDATE OF c, r",
        node.as_uuid(),
        &bytes(blobs.iter().copied()),
        reason,
    )
    .fetch_all(&mut *connection)
    .await?;
    let promoted: Vec<Vec<u8>> = rows.iter().map(|row| row.blob_id.clone()).collect();
    // Those of an upload that is not complete begin to earn when it is.
    sqlx::query!(
        "UPDATE replicas r SET demoted_at = NULL, demoted_reason = NULL, earns = f.state = 'uploading'
         FROM files f
         WHERE r.node_id = $1 AND r.blob_id = ANY($2) AND f.file_id = r.file_id",
        node.as_uuid(),
        &promoted,
    )
    .execute(&mut *connection)
    .await?;
    for row in rows.iter().filter(|row| row.state == "ready") {
        let blob = BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?);
        earnings::start(connection, node, blob, "restored").await?;
    }
    Ok(rows.len())
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
    /// Orders to delete that the node showed.
    pub orders: Vec<SignedOrder>,
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
    .execute(&mut *connection)
    .await?;
    let of = (kept.challenge_id, kept.node_id);
    shown_orders::insert(connection, of, &kept.orders, kept.at).await
}

/// Replicas that were proven since then, that were not, and for which nothing came in time. It goes from node to node, for
/// the index does: statements of a whole day are many.
pub async fn tally_since(
    connection: &mut PgConnection,
    since: Timestamp,
) -> sqlx::Result<(u64, u64, u64)> {
    let row = sqlx::query!(
        r#"SELECT coalesce(sum(s.passed), 0)::bigint AS "passed!", coalesce(sum(s.failed), 0)::bigint AS "failed!",
                  coalesce(sum(s.missed), 0)::bigint AS "missed!"
           FROM nodes n CROSS JOIN LATERAL (
               SELECT sum(passed) AS passed, sum(failed) AS failed, sum(missed) AS missed
               FROM audit_statements WHERE node_id = n.node_id AND at >= $1
           ) s"#,
        since.to_sqlx() as _
    )
    .fetch_one(connection)
    .await?;
    let counts = [row.passed, row.failed, row.missed].map(i64::unsigned_abs);
    Ok(counts.into())
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
    .fetch_all(&mut *connection)
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
        orders: Vec::new(),
    });
    let mut statements: Vec<KeptStatement> = statements.collect();
    let challenges: Vec<Uuid> = statements.iter().map(|kept| kept.challenge_id).collect();
    let mut shown = shown_orders::of(connection, &challenges).await?;
    for kept in &mut statements {
        kept.orders = shown.remove(&kept.challenge_id).unwrap_or_default();
    }
    Ok(statements)
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
    /// Which piece of its chunk: 0 of a copy.
    pub piece: u8,
    pub stored_at_ms: i64,
    /// As long as another one can be read.
    pub counts: bool,
    pub readable: bool,
    pub demoted_reason: Option<String>,
    pub last_proof: Option<LastProof>,
    /// `None` where the chunk's digest is not known.
    pub content: Option<ChunkContent>,
}

/// Healthy copies, or different pieces, of the file's chunk that has fewest; `None` when it has no chunks.
pub async fn fewest_healthy(
    connection: &mut PgConnection,
    file_id: FileId,
) -> sqlx::Result<Option<u32>> {
    let fewest = sqlx::query_scalar!(
        "SELECT min(healthy) FROM (
             SELECT healthy_pieces(sum(least(counting, most))::bigint, sum(least(readable, most))::bigint, k)
                    AS healthy
             FROM (SELECT c.chunk_index, f.data_pieces AS k,
                          CASE WHEN f.data_pieces = 1 THEN NULL ELSE 1 END AS most,
                          count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.away_since)) AS counting,
                          count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.offline_since)) AS readable
                   FROM chunks c JOIN files f USING (file_id)
                        LEFT JOIN replicas r USING (file_id, chunk_index) LEFT JOIN nodes n USING (node_id)
                   WHERE c.file_id = $1 GROUP BY c.chunk_index, f.data_pieces, r.piece) AS slot
             GROUP BY chunk_index, k) AS chunk",
        file_id.as_uuid(),
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
                  r.stored_at_ms AS "stored_at_ms?", r.demoted_reason,
                  replica_counts(r.demoted_at, n.state, n.away_since) AS "counts?",
                  replica_counts(r.demoted_at, n.state, n.offline_since) AS "readable?",
                  r.last_proof_at AS "last_proof_at: jiff_sqlx::Timestamp", r.last_proof_outcome,
                  c.size_bytes, c.sha256, f.replication, f.data_pieces, r.piece AS "piece?", f.sealing
           FROM chunks c JOIN files f USING (file_id) LEFT JOIN replicas r USING (file_id, chunk_index)
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
            let chunk = (file_id, index, row.size_bytes);
            let sha256 = row.sha256.as_deref();
            let scheme = (row.data_pieces, row.replication);
            let piece = row.piece.unwrap_or(0);
            let replica = ReplicaDurability {
                content: ChunkContent::of_row(chunk, sha256, scheme, piece, row.sealing)?,
                piece: piece_number(row.piece)?,
                node_id: NodeId::from_uuid(node_id),
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &blob_id)?),
                stored_at_ms: row.stored_at_ms.unwrap_or(0),
                counts: row.counts.unwrap_or(false),
                readable: row.readable.unwrap_or(false),
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
