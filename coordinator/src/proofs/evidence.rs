//! An owner's evidence: receipts, and fresh proofs with the owner's own seed.

use std::collections::BTreeMap;

use futures::future::join_all;
use proto::{
    ChallengeId, ChallengeItem, Difficulty, FileId, Judgement, Malformed, NodeId, ProofSeed,
};

use crate::proofs::Proofs;
use crate::proofs::challenge::{Examination, ExamineError, Examined, Findings, examine};
use crate::proofs::evidence_slots::{Funding, Occupied};
use crate::{billing, files};

use crate::proofs::tables::receipts;
use crate::proofs::tables::receipts::ReceiptRow;
use model::chunk::FailedRead;
use model::ids::{UserId, uuid_v7};
use proto::evidence::{
    ItemPosition, OrderItem, Outcome, ProofItem, ProofMessage, Proofs as Evidence,
};
use rules::judging::messages;

/// Replicas that one request may have challenged: their proofs are all in memory at one time.
const MAX_REPLICAS: u32 = 96;

/// Chunks that are asked for when the request does not say.
pub const DEFAULT_CHUNKS: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("there is no such file")]
    NotFound,
    #[error("there is no chunk {index}")]
    IndexOutOfRange { index: u32, chunk_count: u64 },
    #[error(transparent)]
    Busy(#[from] Occupied),
    #[error("the coordinator is stopping")]
    Stopping,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Internal(String),
}

impl From<ExamineError> for EvidenceError {
    fn from(error: ExamineError) -> Self {
        match error {
            ExamineError::Stopping => Self::Stopping,
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<Malformed> for EvidenceError {
    fn from(error: Malformed) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A range of a file's chunks, and the seed that their proofs have to answer.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub seed: ProofSeed,
    pub first_index: u32,
    /// As many as fit into one answer at most.
    pub count: u32,
}

/// Which of the slots the user may have.
pub(super) async fn funding(proofs: &Proofs, user: UserId) -> sqlx::Result<Funding> {
    let mut connection = proofs.db.acquire().await?;
    Ok(
        match billing::purchases::has_bought(&mut connection, user).await? {
            true => Funding::Paying,
            false => Funding::Trial,
        },
    )
}

/// Challenges every replica of the range now. Passes count for nothing but the answer; a replica that
/// fails is noted for the audit, which asks it again.
pub async fn prove(
    proofs: &Proofs,
    user: UserId,
    file_id: FileId,
    wanted: Wanted,
) -> Result<Evidence, EvidenceError> {
    let funding = funding(proofs, user).await?;
    let _slot = proofs.evidence_slots.take(user, funding).await?;
    let (chunk_count, end, rows) = {
        let mut connection = proofs.db.acquire().await?;
        let file = files::tables::files::by_id(&mut connection, file_id, user).await?;
        let file = file.ok_or(EvidenceError::NotFound)?;
        let (first, chunk_count) = (wanted.first_index, file.layout.chunk_count());
        if first > 0 && u64::from(first) >= chunk_count {
            return Err(EvidenceError::IndexOutOfRange {
                index: first,
                chunk_count,
            });
        }
        let most = (MAX_REPLICAS / file.scheme.pieces().max(1)).max(1);
        let end = first.saturating_add(wanted.count.min(most));
        // Repair may have left a few chunks with more copies than were asked for.
        let limit = i64::from(MAX_REPLICAS) * 4;
        let after = receipts::before(first);
        let rows = receipts::page(&mut connection, file_id, after, end, limit).await?;
        (chunk_count, end, rows)
    };
    let mut by_node = BTreeMap::<NodeId, Vec<ReceiptRow>>::new();
    for row in rows {
        by_node.entry(row.node_id).or_default().push(row);
    }
    let asked = by_node
        .into_iter()
        .map(|(node, rows)| ask(proofs, node, rows, wanted.seed));
    let mut evidence = Evidence {
        messages: Vec::new(),
        items: Vec::new(),
        next_index: (u64::from(end) < chunk_count).then_some(end),
    };
    for of_node in join_all(asked).await {
        for (rows, examined) in of_node? {
            add(proofs, &mut evidence, &rows, examined, wanted.seed);
        }
    }
    evidence
        .items
        .sort_by_key(|item| (item.index, item.node_id));
    Ok(evidence)
}

type Asked = Vec<(Vec<ReceiptRow>, Examined)>;

/// One message after another to one node.
async fn ask(
    proofs: &Proofs,
    node: NodeId,
    rows: Vec<ReceiptRow>,
    seed: ProofSeed,
) -> Result<Asked, EvidenceError> {
    let difficulty = Difficulty::new(proofs.config.difficulty)?;
    let mut outcomes = Vec::new();
    let mut rest = rows;
    for count in messages(rest.iter().map(|row| row.length), difficulty) {
        let later = rest.split_off(count.min(rest.len()));
        let rows = std::mem::replace(&mut rest, later);
        let now = proofs.clock.now();
        let examination = Examination {
            id: ChallengeId::from_uuid(uuid_v7(now, &mut proofs.entropy.rng())),
            issued_at_ms: now.as_millisecond().unsigned_abs(),
            difficulty,
            items: rows.iter().map(|row| item(row, seed)).collect(),
            deadline: proofs.config.deadline,
            lowest_ping: proofs
                .blobs
                .fleet
                .member(node)
                .and_then(|member| member.lowest_ping()),
        };
        let examined = Box::pin(examine(proofs, node, examination)).await?;
        outcomes.push((rows, examined));
    }
    Ok(outcomes)
}

fn item(row: &ReceiptRow, seed: ProofSeed) -> ChallengeItem {
    ChallengeItem {
        blob_id: row.blob_id,
        length: row.length,
        seed,
    }
}

fn add(
    proofs: &Proofs,
    evidence: &mut Evidence,
    rows: &[ReceiptRow],
    examined: Examined,
    seed: ProofSeed,
) {
    let difficulty = proofs.config.difficulty;
    let who = |row: &ReceiptRow| (Some(row.index), row.node_id.as_uuid(), row.peer_id.clone());
    let unasked = |outcome| {
        let of_row = move |row: &ReceiptRow| {
            ProofItem::unasked(who(row), (&item(row, seed), difficulty), outcome)
        };
        rows.iter().map(of_row).collect::<Vec<_>>()
    };
    let findings: Findings = match examined {
        Examined::Offline => return evidence.items.extend(unasked(Outcome::Offline)),
        Examined::Crowded => return evidence.items.extend(unasked(Outcome::Busy)),
        Examined::Judged(findings) => *findings,
    };
    let message = evidence.messages.len() as u32;
    for ((row, (item, judgement, answer)), position) in rows.iter().zip(findings.items()).zip(0..) {
        if matches!(judgement, Judgement::Failed | Judgement::Ordered) {
            proofs.blobs.read_failures.report(FailedRead {
                node_id: row.node_id,
                blob_id: row.blob_id,
                reason: "failed a proof",
            });
        }
        let place = ItemPosition { message, position };
        let item = (item, difficulty);
        evidence
            .items
            .push(ProofItem::asked(who(row), item, (judgement, answer), place));
    }
    evidence.messages.push(ProofMessage {
        orders: findings.orders.iter().map(OrderItem::from).collect(),
        ..ProofMessage::from(&findings.statement)
    });
}
