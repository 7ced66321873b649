//! Receipts, proofs and verdicts as owners and operators keep them: the JSON that `GET files/{id}/receipts`,
//! `POST files/{id}/proof`, `GET files/{id}/sealed`, `GET nodes/{id}/proofs` and `GET nodes/{id}/proofs/{challenge}`
//! answer and `coordinator verify-evidence` reads.
//!
//! The same types write and read, so that what is handed out is what can be checked.

mod bound;
mod check;
mod lie;
mod proofs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::bound::{Sealed, StatementItem};
pub use self::check::{Checker, Content, Copies, Finding, Found, Stated};
pub use self::lie::Lie;

use crate::{
    AnswerStatement, BlobId, Challenge, ChallengeId, ChallengeItem, DeleteOrder, ItemAnswer,
    ItemDigest, ItemOutcome, Judgement, Malformed, NetworkId, Proof, ProofHash, ProofSeed,
    ProofStatement, Signature, SignedOrder, Verdict,
};

/// A node's signed "I hold this blob, durably".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiptItem {
    /// Of the chunk that the blob is a copy of.
    pub index: u32,
    pub node_id: Uuid,
    pub peer_id: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub blob_id: BlobId,
    /// Bytes of the blob.
    pub length: u64,
    /// By the node's clock.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub stored_at: jiff::Timestamp,
    /// The same in Unix milliseconds, as it is signed.
    pub stored_at_ms: u64,
    /// 128 hex digits.
    pub signature: String,
    /// What a coordinator signs that the blob is; missing where the chunk's digest is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementItem>,
}

/// Signed receipts for a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipts {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network_id: NetworkId,
    pub items: Vec<ReceiptItem>,
    /// Pass it as `cursor` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// One challenge message: what was asked, what the node signed, how the coordinator judged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofMessage {
    /// The challenge as its coordinator signed it, in base64.
    pub challenge: String,
    /// By the coordinator; 128 hex digits.
    pub challenge_signature: String,
    /// The node that was asked.
    pub peer_id: String,
    /// One for each blob of the challenge, in order; empty when no usable answer came.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub item_digests: Vec<ItemDigest>,
    /// By the node, over challenge and digests; 128 hex digits, `null` when no usable answer came.
    pub signature: Option<String>,
    pub verdict: VerdictItem,
    /// Orders to delete blobs that the node showed because it lacks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderItem>,
}

/// A coordinator's signed order to delete blobs, as the node that it was for has shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderItem {
    /// The coordinator that signed it.
    pub coordinator: String,
    /// By its clock.
    pub issued_at_ms: u64,
    /// The bytes that it signed, in base64.
    pub order: String,
    /// By the coordinator; 128 hex digits.
    pub signature: String,
}

impl From<&SignedOrder> for OrderItem {
    fn from(signed: &SignedOrder) -> Self {
        Self {
            coordinator: signed.order.parties().coordinator.to_string(),
            issued_at_ms: signed.order.issued_at_ms(),
            order: BASE64_STANDARD.encode(signed.order.signed_bytes()),
            signature: signed.signature.to_string(),
        }
    }
}

impl TryFrom<&OrderItem> for SignedOrder {
    type Error = Malformed;

    /// The signature is still to be verified. What stands beside the signed bytes has to agree with them.
    fn try_from(item: &OrderItem) -> Result<Self, Malformed> {
        let bytes = BASE64_STANDARD
            .decode(&item.order)
            .map_err(|_| Malformed("an order that is not base64"))?;
        let order = DeleteOrder::from_signed_bytes(&bytes)?;
        if order.parties().coordinator.to_string() != item.coordinator
            || order.issued_at_ms() != item.issued_at_ms
        {
            return Err(Malformed(
                "an order of another coordinator or time than is said",
            ));
        }
        Ok(Self {
            order,
            signature: signature(&item.signature)?,
        })
    }
}

/// The judgement over one challenge message to a node, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofsView {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: jiff::Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub challenge_id: ChallengeId,
    pub passed: u32,
    pub failed: u32,
    pub missed: u32,
    pub busy: u32,
    /// Challenge, digests of the answers and judgement, signed by both sides (base64; docs/proofs.md).
    pub statement: String,
    /// Orders to delete blobs that the node showed for blobs that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderItem>,
}

/// The coordinator's signed judgement over one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerdictItem {
    /// `passed`, `failed`, `missed`, `busy` or `ordered` for each blob of the challenge, in order.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub judgements: Vec<Outcome>,
    pub elapsed_ms: u64,
    pub deadline_ms: u64,
    /// By the coordinator; 128 hex digits.
    pub signature: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    Missed,
    Busy,
    /// The node lacks the blob because a coordinator ordered it to delete it.
    Ordered,
    /// The node was not connected: it was not asked.
    Offline,
}

impl Outcome {
    /// As it is written in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::Busy => "busy",
            Self::Ordered => "ordered",
            Self::Offline => "offline",
        }
    }
}

/// What a node says of one blob; for the coordinator's opinion see `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    Proven,
    Missing,
    Corrupt,
    Busy,
}

/// What became of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofItem {
    /// Of the chunk that the blob is a copy of; `null` where that is nobody's business.
    pub index: Option<u32>,
    pub node_id: Uuid,
    pub peer_id: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub blob_id: BlobId,
    pub length: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub seed: ProofSeed,
    pub difficulty: u32,
    /// For reading: what is signed of it is the verdict of its message.
    pub outcome: Outcome,
    /// `null` when no usable answer came.
    pub claim: Option<Claim>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub proof_hash: Option<ProofHash>,
    /// As the node measured it; it decides nothing.
    pub duration_ms: Option<u64>,
    /// The visited leaves and the hashes to the root, in base64.
    pub body: Option<String>,
    /// Which of `messages` asked for it; `null` when the node was not asked.
    pub message: Option<u32>,
    /// Its place in that message.
    pub position: Option<u32>,
}

/// Fresh evidence that the copies of a file's chunks are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Proofs {
    pub messages: Vec<ProofMessage>,
    pub items: Vec<ProofItem>,
    /// The first chunk that was not asked for; `null` at the end of the file.
    pub next_index: Option<u32>,
}

impl From<Judgement> for Outcome {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Passed => Self::Passed,
            Judgement::Failed => Self::Failed,
            Judgement::Missed => Self::Missed,
            Judgement::Busy => Self::Busy,
            Judgement::Ordered => Self::Ordered,
        }
    }
}

impl TryFrom<Outcome> for Judgement {
    type Error = Malformed;

    fn try_from(outcome: Outcome) -> Result<Self, Malformed> {
        Ok(match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::Missed => Self::Missed,
            Outcome::Busy => Self::Busy,
            Outcome::Ordered => Self::Ordered,
            Outcome::Offline => return Err(Malformed("nobody is judged who was not asked")),
        })
    }
}

impl From<&ProofStatement> for ProofMessage {
    fn from(statement: &ProofStatement) -> Self {
        let (answer, verdict) = (statement.answer.as_ref(), &statement.verdict);
        Self {
            challenge: BASE64_STANDARD.encode(statement.challenge.signed_bytes()),
            challenge_signature: statement.challenge_signature.to_string(),
            peer_id: statement.challenge.parties().node.to_string(),
            item_digests: answer.map_or_else(Vec::new, |answer| answer.item_digests.clone()),
            signature: answer.map(|answer| answer.signature.to_string()),
            verdict: VerdictItem {
                judgements: verdict
                    .judgements
                    .iter()
                    .map(|j| Outcome::from(*j))
                    .collect(),
                elapsed_ms: verdict.elapsed_ms,
                deadline_ms: verdict.deadline_ms,
                signature: verdict.signature.to_string(),
            },
            orders: Vec::new(),
        }
    }
}

impl TryFrom<&ProofMessage> for ProofStatement {
    type Error = Malformed;

    /// Signatures are still to be verified.
    fn try_from(message: &ProofMessage) -> Result<Self, Malformed> {
        let bytes = BASE64_STANDARD
            .decode(&message.challenge)
            .map_err(|_| Malformed("a challenge that is not base64"))?;
        let challenge = Challenge::from_signed_bytes(&bytes)?;
        if challenge.parties().node.to_string() != message.peer_id {
            return Err(Malformed("the challenge was for another peer"));
        }
        let answer = message.signature.as_deref().map(signature).transpose()?;
        let judgements = message.verdict.judgements.iter();
        Ok(Self {
            challenge,
            challenge_signature: signature(&message.challenge_signature)?,
            answer: answer.map(|signature| AnswerStatement {
                item_digests: message.item_digests.clone(),
                signature,
            }),
            verdict: Verdict {
                judgements: judgements
                    .map(|outcome| Judgement::try_from(*outcome))
                    .collect::<Result<_, _>>()?,
                elapsed_ms: message.verdict.elapsed_ms,
                deadline_ms: message.verdict.deadline_ms,
                signature: signature(&message.verdict.signature)?,
            },
        })
    }
}

fn signature(hex_digits: &str) -> Result<Signature, Malformed> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(hex_digits, &mut bytes)
        .map_err(|_| Malformed("a signature must have 128 hex digits"))?;
    Ok(Signature::from_bytes(bytes))
}

/// Where an item stands: which message of the list asked for it, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemPosition {
    pub message: u32,
    pub position: u32,
}

impl ProofItem {
    /// An item that was asked for. `answer` is the node's, when a usable one came.
    pub fn asked(
        (index, node_id, peer_id): (Option<u32>, Uuid, String),
        (item, difficulty): (&ChallengeItem, u32),
        (judgement, answer): (Judgement, Option<&ItemAnswer>),
        at: ItemPosition,
    ) -> Self {
        let claim = answer.map(|answer| match answer.outcome {
            ItemOutcome::Proven(_) => Claim::Proven,
            ItemOutcome::Missing => Claim::Missing,
            ItemOutcome::Corrupt => Claim::Corrupt,
            ItemOutcome::Busy => Claim::Busy,
        });
        let proof = answer.and_then(|answer| match &answer.outcome {
            ItemOutcome::Proven(proof) => Some(proof),
            _ => None,
        });
        Self {
            index,
            node_id,
            peer_id,
            blob_id: item.blob_id,
            length: item.length,
            seed: item.seed,
            difficulty,
            outcome: judgement.into(),
            claim,
            proof_hash: proof.map(|proof| proof.proof_hash),
            duration_ms: answer.map(|answer| answer.duration_ms),
            body: proof.map(|proof| BASE64_STANDARD.encode(&proof.body)),
            message: Some(at.message),
            position: Some(at.position),
        }
    }

    /// The same, of what a node said when it failed: nobody's file is asked about.
    pub fn kept(
        (node_id, peer_id): (Uuid, String),
        (item, difficulty): (&ChallengeItem, u32),
        (judgement, answer): (Judgement, Option<&ItemAnswer>),
        at: ItemPosition,
    ) -> Self {
        let who = (None, node_id, peer_id);
        Self::asked(who, (item, difficulty), (judgement, answer), at)
    }

    /// An item whose node was not asked, and why.
    pub fn unasked(
        (index, node_id, peer_id): (Option<u32>, Uuid, String),
        (item, difficulty): (&ChallengeItem, u32),
        outcome: Outcome,
    ) -> Self {
        Self {
            index,
            node_id,
            peer_id,
            blob_id: item.blob_id,
            length: item.length,
            seed: item.seed,
            difficulty,
            outcome,
            claim: None,
            proof_hash: None,
            duration_ms: None,
            body: None,
            message: None,
            position: None,
        }
    }

    /// What the node said, as it is hashed into its digest.
    fn answer(&self) -> Result<Option<ItemAnswer>, Malformed> {
        let outcome = match self.claim {
            None => return Ok(None),
            Some(Claim::Missing) => ItemOutcome::Missing,
            Some(Claim::Corrupt) => ItemOutcome::Corrupt,
            Some(Claim::Busy) => ItemOutcome::Busy,
            Some(Claim::Proven) => {
                let (Some(proof_hash), Some(body)) = (self.proof_hash, &self.body) else {
                    return Err(Malformed("a proof without its hash or its body"));
                };
                let body = BASE64_STANDARD.decode(body);
                let body = body.map_err(|_| Malformed("a body that is not base64"))?;
                ItemOutcome::Proven(Proof {
                    proof_hash,
                    body: body.into(),
                })
            }
        };
        Ok(Some(ItemAnswer {
            outcome,
            duration_ms: self.duration_ms.unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests;
