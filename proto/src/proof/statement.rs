//! The judgement, and the whole exchange as it is kept: small enough to keep one for every message.

use bytes::Bytes;

use super::answer::{AnswerStatement, ItemOutcome, hash_of_all};
use super::challenge::Challenge;
use super::question::Question;
use super::walk::verify;
use crate::signing::SignedBytes;
use crate::{InvalidSignature, ItemDigest, Keypair, Malformed, Signature, VerifyingKey, wire};

/// No encoded statement is longer.
pub const MAX_STATEMENT_BYTES: usize = 4096;

/// How a coordinator judges the answer for one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    Passed = 1,
    /// The node signed a wrong proof, or that it lacks the blob.
    Failed = 2,
    /// The challenge reached the node, and no usable answer came in time.
    Missed = 3,
    /// The node asked for another time.
    Busy = 4,
    /// The node lacks the blob, because a coordinator has ordered it to delete it: nothing is held against it.
    Ordered = 5,
}

impl Judgement {
    /// What is due to a signed answer. In one that came too late only an admission counts: that a blob is gone stays
    /// true. An order that excuses it turns that into [`Self::Ordered`].
    pub fn due(question: &Question, outcome: &ItemOutcome, late: bool) -> Self {
        match outcome {
            ItemOutcome::Missing | ItemOutcome::Corrupt => Self::Failed,
            ItemOutcome::Proven(_) | ItemOutcome::Busy if late => Self::Missed,
            ItemOutcome::Proven(proof) => match verify(question, proof) {
                Ok(()) => Self::Passed,
                Err(_) => Self::Failed,
            },
            ItemOutcome::Busy => Self::Busy,
        }
    }
}

impl TryFrom<u8> for Judgement {
    type Error = Malformed;

    fn try_from(byte: u8) -> Result<Self, Malformed> {
        Ok(match byte {
            1 => Self::Passed,
            2 => Self::Failed,
            3 => Self::Missed,
            4 => Self::Busy,
            5 => Self::Ordered,
            _ => return Err(Malformed("an unknown judgement")),
        })
    }
}

/// A coordinator's judgement over one challenge.
///
/// Signed: `"fsn pos v1 verdict" ‖ network_id[32] ‖ BLAKE3(challenge)[32] ‖ answered:u8 ‖ BLAKE3(all item
/// digests in order)[32] ‖ elapsed_ms:u64 ‖ deadline_ms:u64 ‖ n:u32 ‖ n × judgement:u8`. Without an
/// answer `answered` is 0 and the digests are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// One for each blob of the challenge, in the same order.
    pub judgements: Vec<Judgement>,
    /// From sending to receiving, less the allowance for the way; without an answer, how long was
    /// waited.
    pub elapsed_ms: u64,
    pub deadline_ms: u64,
    pub signature: Signature,
}

/// One challenge with its answer and its judgement: everything but the proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofStatement {
    pub challenge: Challenge,
    pub challenge_signature: Signature,
    /// `None` when no usable answer came.
    pub answer: Option<AnswerStatement>,
    pub verdict: Verdict,
}

/// Why a statement proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatement {
    #[error("the coordinator has not signed the challenge")]
    Challenge,
    #[error("the node has not signed the answer")]
    Answer,
    #[error("the coordinator has not signed the verdict")]
    Verdict,
}

impl Verdict {
    /// By the figures that are signed with it.
    pub const fn is_late(&self) -> bool {
        self.elapsed_ms > self.deadline_ms
    }
}

impl ProofStatement {
    /// Judges: signs the verdict over everything else.
    pub fn sign(
        challenge: Challenge,
        challenge_signature: Signature,
        answer: Option<AnswerStatement>,
        judgements: Vec<Judgement>,
        (elapsed_ms, deadline_ms): (u64, u64),
        coordinator: &Keypair,
    ) -> Result<Self, Malformed> {
        if judgements.len() != challenge.items().len() {
            return Err(Malformed("a verdict has one judgement for each blob"));
        }
        let mut statement = Self {
            challenge,
            challenge_signature,
            answer,
            verdict: Verdict {
                judgements,
                elapsed_ms,
                deadline_ms,
                signature: Signature::from_bytes([0; 64]),
            },
        };
        statement.verdict.signature = Signature::sign(coordinator, &statement.verdict_bytes())?;
        Ok(statement)
    }

    /// Checks every signature. What the proofs themselves are worth has to be checked with their
    /// bodies.
    pub fn verify(&self) -> Result<(), InvalidStatement> {
        self.challenge
            .verify(&self.challenge_signature)
            .map_err(|_| InvalidStatement::Challenge)?;
        if let Some(answer) = &self.answer {
            let verified = answer.verify(&self.challenge);
            verified.map_err(|_| InvalidStatement::Answer)?;
        }
        if self.verdict.judgements.len() != self.challenge.items().len() {
            return Err(InvalidStatement::Verdict);
        }
        VerifyingKey::of_peer(&self.challenge.parties().coordinator)
            .map_err(|_| InvalidSignature)
            .and_then(|key| key.verify(&self.verdict_bytes(), &self.verdict.signature))
            .map_err(|_| InvalidStatement::Verdict)
    }

    fn verdict_bytes(&self) -> Vec<u8> {
        let digests = self.answer.as_ref().map(|answer| &answer.item_digests[..]);
        let judgements: Vec<u8> = self.verdict.judgements.iter().map(|j| *j as u8).collect();
        SignedBytes::new("fsn pos v1 verdict")
            .raw(self.challenge.parties().network_id.as_bytes())
            .raw(self.challenge.hash().as_bytes())
            .raw(&[u8::from(digests.is_some())])
            .raw(&hash_of_all(digests.unwrap_or_default()))
            .u64(self.verdict.elapsed_ms)
            .u64(self.verdict.deadline_ms)
            .sized(&judgements)
            .finish()
    }

    /// For keeping. At most [`MAX_STATEMENT_BYTES`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = |signature: &Signature| Bytes::copy_from_slice(signature.as_bytes());
        let digests = self.answer.iter().flat_map(|answer| &answer.item_digests);
        prost::Message::encode_to_vec(&wire::ProofStatement {
            challenge: self.challenge.signed_bytes().into(),
            challenge_signature: signature(&self.challenge_signature),
            item_digests: digests
                .map(|digest| Bytes::copy_from_slice(digest.as_bytes()))
                .collect(),
            answer_signature: self
                .answer
                .as_ref()
                .map_or(Bytes::new(), |answer| signature(&answer.signature)),
            elapsed_ms: self.verdict.elapsed_ms,
            deadline_ms: self.verdict.deadline_ms,
            judgements: self.verdict.judgements.iter().map(|j| *j as u8).collect(),
            verdict_signature: signature(&self.verdict.signature),
        })
    }

    /// Reads what [`Self::to_bytes`] wrote. Signatures are still to be verified.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_STATEMENT_BYTES {
            return Err(Malformed("a statement is longer than 4096 bytes"));
        }
        let message = <wire::ProofStatement as prost::Message>::decode(bytes)?;
        let digest = |digest: &Bytes| {
            ItemDigest::try_from(&digest[..])
                .map_err(|_| Malformed("an item digest must have 32 bytes"))
        };
        let answer = match &message.answer_signature[..] {
            [] if message.item_digests.is_empty() => None,
            [] => return Err(Malformed("item digests without a signature")),
            signature => Some(AnswerStatement {
                item_digests: message
                    .item_digests
                    .iter()
                    .map(digest)
                    .collect::<Result<_, _>>()?,
                signature: Signature::try_from(signature)?,
            }),
        };
        let challenge = Challenge::from_signed_bytes(&message.challenge)?;
        let judgements = message
            .judgements
            .iter()
            .map(|byte| Judgement::try_from(*byte));
        let judgements: Vec<_> = judgements.collect::<Result<_, _>>()?;
        if judgements.len() != challenge.items().len() {
            return Err(Malformed("a verdict has one judgement for each blob"));
        }
        Ok(Self {
            challenge,
            challenge_signature: Signature::try_from(&message.challenge_signature[..])?,
            answer,
            verdict: Verdict {
                judgements,
                elapsed_ms: message.elapsed_ms,
                deadline_ms: message.deadline_ms,
                signature: Signature::try_from(&message.verdict_signature[..])?,
            },
        })
    }
}
