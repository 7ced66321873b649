//! Asking one node: proofs, or a whole blob.

use jiff::Timestamp;
use network::CallError;
use proto::{
    BlobId, Challenge, ChallengeId, ChallengeItem, Difficulty, ItemAnswer, ItemOutcome, Judgement,
    NodeId, ProofSeed, SignedOrder,
};
use rand::Rng;
use uuid::Uuid;

use crate::fleet::ReadFailure;
use crate::proofs::challenge::{Examination, Examined, Findings};
use crate::proofs::tables::audit_results::{KeptFailure, ORDERED};
use crate::proofs::tables::audit_schedule::AuditedReplica;
use crate::proofs::tables::follow_ups::{Ask, FollowUp};
use crate::proofs::{Proofs, challenge, orders};
use model::ids::uuid_v7;
use rules::audit::{Answer, Cell, Question};
use rules::judging::messages;
use sealing::SEALING_OVERHEAD;

/// A replica, how it was asked for, and what came back.
#[derive(Debug)]
pub(super) struct Seen {
    pub blob_id: BlobId,
    pub size_bytes: u32,
    pub drawn: bool,
    pub weight_ppm: u64,
    pub question: Question,
    /// `None` when the node went away before it could be asked.
    pub answer: Option<Answer>,
    pub reason: String,
    /// What led here, if it was asked for out of turn.
    pub follow_up: Option<FollowUp>,
    /// Of the penalty, should this be the replica's first miss.
    pub miss_id: Uuid,
}

impl Seen {
    /// Of the blob.
    fn length(&self) -> u64 {
        u64::from(self.size_bytes) + SEALING_OVERHEAD as u64
    }
}

/// One piece of asking.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub seen: Vec<Seen>,
    /// Drawn, and known to be lost: failed without being asked.
    pub known_lost: u64,
    /// Drawn, and known to be lost since the node has said so before this round.
    pub known_reported: u64,
    pub messages: Vec<Sent>,
    /// Follow-ups whose replicas are no more.
    pub ended: Vec<BlobId>,
}

/// A message that a node was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub challenge: Challenge,
    pub judgements: Vec<Judgement>,
    pub statement: Vec<u8>,
    pub failures: Vec<KeptFailure>,
    pub orders: Vec<SignedOrder>,
}

/// Asks for the replicas of a cell in a round that was planned at `planned`. `None` when the node cannot be asked now.
///
/// What is asked for out of turn is asked here, too: else a node that leaves proofs unanswered was spared those
/// that fall due until its whole blobs have come.
pub(super) async fn cell(
    proofs: &Proofs,
    node: NodeId,
    cell: &Cell,
    replicas: Vec<AuditedReplica>,
    planned: Timestamp,
    now: Timestamp,
) -> anyhow::Result<Option<Asked>> {
    let (mut wanted, mut asked) = (Vec::new(), Asked::default());
    for replica in replicas {
        match replica.lost {
            Some(_) if !cell.drawn => {}
            // What was found or told in this round has moved the score already. The moment at which a round is planned
            // is the last of the one before.
            Some(lost) if lost.at > planned => {}
            Some(lost) if lost.reported => asked.known_reported += 1,
            Some(_) => asked.known_lost += 1,
            None => wanted.push(Seen {
                blob_id: replica.blob_id,
                size_bytes: replica.size_bytes,
                drawn: cell.drawn,
                weight_ppm: cell.weight_ppm,
                question: match &replica.follow_up {
                    Some(waiting) if waiting.ask == Ask::WholeBlob => Question::ProofMeanwhile {
                        attempts: waiting.attempts,
                    },
                    Some(waiting) if waiting.was_busy() => Question::ProofAgain,
                    _ => Question::Proof,
                },
                answer: None,
                reason: String::new(),
                follow_up: replica.follow_up,
                miss_id: uuid_v7(now, &mut proofs.entropy.rng()),
            }),
        }
    }
    ask_for_proofs(proofs, node, wanted, asked, now).await
}

/// Asks for proofs out of turn: once more where the node was too busy, for the first time what it has just signed for,
/// and after a whole blob.
pub(super) async fn again(
    proofs: &Proofs,
    node: NodeId,
    due: Vec<(FollowUp, u32)>,
    now: Timestamp,
) -> anyhow::Result<Option<Asked>> {
    let mut rng = proofs.entropy.rng();
    let wanted = due.into_iter().map(|(follow_up, size)| {
        let question = match follow_up.penalty_id {
            Some(_) => Question::ProofAfterBlob,
            None if follow_up.was_busy() => Question::ProofAgain,
            None => Question::Proof,
        };
        wanted(follow_up, size, question, now, &mut rng)
    });
    ask_for_proofs(proofs, node, wanted.collect(), Asked::default(), now).await
}

fn wanted(
    follow_up: FollowUp,
    size_bytes: u32,
    question: Question,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Seen {
    Seen {
        blob_id: follow_up.blob_id,
        size_bytes,
        drawn: follow_up.drawn,
        weight_ppm: follow_up.weight_ppm,
        question,
        answer: None,
        reason: follow_up.reason.clone(),
        follow_up: Some(follow_up),
        miss_id: uuid_v7(now, rng),
    }
}

/// Asks for proofs, in as many messages as it takes.
async fn ask_for_proofs(
    proofs: &Proofs,
    node: NodeId,
    mut wanted: Vec<Seen>,
    mut asked: Asked,
    now: Timestamp,
) -> anyhow::Result<Option<Asked>> {
    let difficulty = Difficulty::new(proofs.config.difficulty)?;
    let Some(member) = proofs.blobs.fleet.member(node) else {
        return Ok(None);
    };
    let mut rng = proofs.entropy.rng();
    let counts = messages(wanted.iter().map(Seen::length), difficulty);
    let mut from = 0;
    for count in counts {
        let item = |seen: &Seen| ChallengeItem {
            blob_id: seen.blob_id,
            length: seen.length(),
            seed: seed(&mut rng),
        };
        let message = &mut wanted[from..from + count];
        let examination = Examination {
            id: ChallengeId::from_bytes(uuid_v7(now, &mut proofs.entropy.rng()).into_bytes()),
            issued_at_ms: u64::try_from(now.as_millisecond()).unwrap_or(0),
            difficulty,
            items: message.iter().map(item).collect(),
            deadline: proofs.config.deadline,
            lowest_ping: member.lowest_ping(),
        };
        let findings = match challenge::examine(proofs, node, examination).await? {
            Examined::Judged(findings) => *findings,
            // What has been asked counts; the rest is asked for when the node is back.
            Examined::Offline | Examined::Crowded if from > 0 => break,
            Examined::Offline | Examined::Crowded => return Ok(None),
        };
        take_over(message, &mut asked, findings);
        from += count;
    }
    asked.seen = wanted;
    Ok(Some(asked))
}

fn take_over(wanted: &mut [Seen], asked: &mut Asked, findings: Findings) {
    let mut failures = Vec::new();
    for (position, (seen, (item, judgement, answer))) in
        wanted.iter_mut().zip(findings.items()).enumerate()
    {
        let (outcome, reason) = said(answer);
        seen.answer = Some(match judgement {
            Judgement::Passed => Answer::Good,
            Judgement::Failed => Answer::Bad,
            Judgement::Missed => Answer::Missing,
            Judgement::Busy => Answer::Busy,
            Judgement::Ordered => Answer::Ordered,
        });
        if judgement != Judgement::Passed {
            seen.reason = reason.to_owned();
        }
        if judgement == Judgement::Ordered {
            seen.reason = ORDERED.to_owned();
        }
        if let (Judgement::Failed, Some(answer)) = (judgement, answer) {
            let proof = match &answer.outcome {
                ItemOutcome::Proven(proof) => Some(proof),
                _ => None,
            };
            failures.push(KeptFailure {
                blob_id: item.blob_id,
                position: position as u32,
                reason: reason.to_owned(),
                outcome,
                proof_hash: proof.map(|proof| *proof.proof_hash.as_bytes()),
                duration_ms: answer.duration_ms,
                body: proof.map_or(Vec::new(), |proof| proof.body.to_vec()),
            });
        }
    }
    asked.messages.push(Sent {
        judgements: findings.statement.verdict.judgements.clone(),
        statement: findings.statement.to_bytes(),
        challenge: findings.statement.challenge,
        failures,
        orders: findings.orders,
    });
}

/// The node's own word, and what it comes to when the blob did not pass.
fn said(answer: Option<&ItemAnswer>) -> (&'static str, &'static str) {
    match answer.map(|answer| &answer.outcome) {
        Some(ItemOutcome::Proven(_)) => ("proven", "the proof is wrong, or came too late"),
        Some(ItemOutcome::Missing) => ("missing", "the node says that it lacks the blob"),
        Some(ItemOutcome::Corrupt) => ("corrupt", "the node says that its copy is damaged"),
        Some(ItemOutcome::Busy) => ("busy", "the node was too busy to prove it"),
        None => ("none", "no usable answer came in time"),
    }
}

fn seed(rng: &mut impl Rng) -> ProofSeed {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    ProofSeed::from_bytes(seed)
}

/// Whether an order that a node shows instead of a blob is good.
async fn is_excused(
    proofs: &Proofs,
    node: NodeId,
    blob_id: BlobId,
    order: SignedOrder,
) -> sqlx::Result<bool> {
    let to = orders::To {
        network_id: proofs.blobs.keys.network_id,
        node,
        peer: order.order.parties().node,
    };
    let is_the_peer = proofs
        .blobs
        .fleet
        .member(node)
        .is_some_and(|m| m.peer_id == to.peer);
    let (_, excused) = orders::excused(&proofs.db, to, &[blob_id], &[order]).await?;
    Ok(is_the_peer && excused.contains(&blob_id))
}

/// Asks for whole blobs. `None` when the node is not there.
pub(super) async fn whole_blob(
    proofs: &Proofs,
    node: NodeId,
    due: Vec<(FollowUp, u32)>,
    now: Timestamp,
) -> anyhow::Result<Option<Asked>> {
    let mut asked = Asked::default();
    for (follow_up, size) in due {
        let (blob_id, attempts) = (follow_up.blob_id, follow_up.attempts);
        let (answer, reason) = match proofs.blobs.fleet.retrieve(node, blob_id).await {
            Ok(data) => {
                let right = proofs
                    .blobs
                    .crypto
                    .run(move || BlobId::of(&data) == blob_id)
                    .await?;
                if right {
                    (Answer::Good, String::new())
                } else {
                    (Answer::Bad, "the node gave wrong bytes".to_owned())
                }
            }
            Err(failure @ (ReadFailure::Missing | ReadFailure::Corrupt)) => {
                (Answer::Bad, failure.to_string())
            }
            Err(ReadFailure::Ordered(order)) => {
                match is_excused(proofs, node, blob_id, *order).await? {
                    true => (Answer::Ordered, ORDERED.to_owned()),
                    false => (Answer::Bad, ReadFailure::Missing.to_string()),
                }
            }
            Err(ReadFailure::Offline | ReadFailure::Call(CallError::NotConnected)) => {
                return Ok(None);
            }
            Err(ReadFailure::Call(CallError::Stopped)) => anyhow::bail!("the network has stopped"),
            Err(failure) => (Answer::Missing, failure.to_string()),
        };
        let question = Question::WholeBlob { attempts };
        let mut seen = wanted(follow_up, size, question, now, &mut proofs.entropy.rng());
        seen.answer = Some(answer);
        if answer != Answer::Good {
            seen.reason = reason;
        }
        asked.seen.push(seen);
    }
    Ok(Some(asked))
}
