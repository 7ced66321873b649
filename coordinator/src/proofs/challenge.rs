//! One challenge message to one node: asked, answered, judged, signed.
//!
//! Keeps nothing. The audit and an owner's request for evidence both build on it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use network::CallError;
use proto::{
    BlobId, Challenge, ChallengeId, ChallengeItem, Difficulty, ItemAnswer, ItemOutcome, Judgement,
    Malformed, NodeId, Parties, ProofAnswer, ProofStatement, Prove, SignedOrder,
};

use crate::blobs::crypto_pool::TaskLost;
use crate::proofs::Proofs;
use crate::proofs::orders::{To, excused};
use rules::judging::{Judged, Timing, judge};

/// A timer that fires so much late tells of this process, or of its machine, and of no node.
const OWN_DELAY: Duration = Duration::from_millis(500);

/// No challenge is sent while more than this is on its way to the node: it would wait behind it.
const MAX_DATA_QUEUED: u64 = 1024 * 1024;

/// What to ask, and how the answer is timed.
#[derive(Debug, Clone)]
pub struct Examination {
    pub id: ChallengeId,
    pub issued_at_ms: u64,
    pub difficulty: Difficulty,
    /// Within the bounds of [`Challenge::new`].
    pub items: Vec<ChallengeItem>,
    pub deadline: Duration,
    /// The lowest ping of the node's connection, if one is known.
    pub lowest_ping: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub enum Examined {
    /// Not connected, or gone before the message was handed over: nothing can be held against any
    /// blob.
    Offline,
    /// The node is being sent too much data to answer in time. Nothing was sent.
    Crowded,
    Judged(Box<Findings>),
}

#[derive(Debug)]
pub struct Findings {
    /// Signed by the node, if it answered, and by this coordinator.
    pub statement: ProofStatement,
    /// What the node said of each blob, in order; empty when no usable answer came.
    pub answers: Vec<ItemAnswer>,
    /// Orders to delete that it showed, and that are good.
    pub orders: Vec<SignedOrder>,
}

impl Findings {
    /// Each blob with its judgement and, where there is one, the node's answer.
    pub fn items(&self) -> impl Iterator<Item = (&ChallengeItem, Judgement, Option<&ItemAnswer>)> {
        let items = self.statement.challenge.items().iter();
        let judged = items.zip(&self.statement.verdict.judgements);
        judged
            .enumerate()
            .map(|(index, (item, judgement))| (item, *judgement, self.answers.get(index)))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    #[error("the challenge cannot be asked: {0}")]
    Impossible(#[from] Malformed),
    #[error("the coordinator is stopping")]
    Stopping,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    TaskLost(#[from] TaskLost),
}

/// Asks `node` to prove the blobs and judges its answer. Waits while another challenge to the same
/// node is under way. Whatever goes wrong at the node's end is a judgement, not an error.
pub async fn examine(
    proofs: &Proofs,
    node: NodeId,
    examination: Examination,
) -> Result<Examined, ExamineError> {
    let Some(member) = proofs
        .blobs
        .fleet
        .member(node)
        .filter(|member| member.is_online())
    else {
        return Ok(Examined::Offline);
    };
    let parties = Parties {
        network_id: proofs.blobs.keys.network_id,
        coordinator: proofs.blobs.keys.identity.public().to_peer_id(),
        node: member.peer_id,
    };
    let challenge = Challenge::new(
        parties,
        examination.id,
        examination.issued_at_ms,
        examination.difficulty,
        examination.items,
    )?;
    let request = challenge.sign(&proofs.blobs.keys.identity)?;
    let challenge_signature = request.signature;
    let (deadline, lowest_ping) = (examination.deadline, examination.lowest_ping);

    let _turn = member.challenge_turn().await;
    if member.data_queued_bytes() > MAX_DATA_QUEUED {
        return Ok(Examined::Crowded);
    }
    let timeout = Timing::timeout(deadline, lowest_ping);
    let began = Instant::now();
    let call = proofs
        .blobs
        .fleet
        .network()
        .call::<Prove>(member.peer_id, request);
    let call = tokio::time::timeout(timeout, call).await;
    let timing = Timing {
        elapsed: began.elapsed(),
        lowest_ping,
        deadline,
    };
    if timing.elapsed > timeout + OWN_DELAY {
        tracing::warn!(node_id = %node, elapsed = ?timing.elapsed, "this coordinator stood still: the challenge says nothing");
        return Ok(Examined::Offline);
    }
    let answer = match call {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(CallError::NotConnected)) => return Ok(Examined::Offline),
        Ok(Err(CallError::Stopped)) => return Err(ExamineError::Stopping),
        Ok(Err(error)) => {
            tracing::info!(node_id = %node, %error, "a challenge brought no answer");
            None
        }
        Err(_) => {
            tracing::info!(node_id = %node, "a challenge was not answered in time");
            None
        }
    };

    let (orders, excused) = shown(proofs, node, &challenge, answer.as_ref()).await?;
    let identity = proofs.blobs.keys.identity.clone();
    let judging = move || {
        let mut judged = judge(&challenge, answer.as_ref(), timing);
        judged.excuse(&challenge, answer.as_ref(), &excused);
        let Judged {
            judgements,
            answer: statement,
            unusable,
        } = judged;
        if let Some(error) = unusable {
            tracing::warn!(node_id = %node, %error, "an answer to a challenge is not usable");
        }
        let answered = statement.is_some();
        let times = (timing.counted_ms(), timing.deadline_ms());
        let statement = ProofStatement::sign(
            challenge,
            challenge_signature,
            statement,
            judgements,
            times,
            &identity,
        )?;
        let answers = answer.filter(|_| answered).map(|answer| answer.items);
        Ok(Findings {
            statement,
            answers: answers.unwrap_or_default(),
            orders,
        })
    };
    let findings: Result<Findings, Malformed> = proofs.blobs.crypto.run(judging).await?;
    Ok(Examined::Judged(Box::new(findings?)))
}

/// The good ones of the orders that the node shows, and what it is excused for.
async fn shown(
    proofs: &Proofs,
    node: NodeId,
    challenge: &Challenge,
    answer: Option<&ProofAnswer>,
) -> sqlx::Result<(Vec<SignedOrder>, HashSet<BlobId>)> {
    let Some(answer) = answer.filter(|answer| !answer.orders.is_empty()) else {
        return Ok((Vec::new(), HashSet::new()));
    };
    let items = challenge.items().iter().zip(&answer.items);
    let missing = items.filter(|(_, answered)| answered.outcome == ItemOutcome::Missing);
    let missing: Vec<BlobId> = missing.map(|(item, _)| item.blob_id).collect();
    let parties = challenge.parties();
    let to = To {
        network_id: parties.network_id,
        node,
        peer: parties.node,
    };
    excused(&proofs.db, to, &missing, &answer.orders).await
}
