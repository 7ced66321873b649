//! The answer: one outcome for each challenged blob, all under one signature of the node.

use bytes::Bytes;

use super::challenge::{Challenge, ChallengeRequest, MAX_CHALLENGE_ITEMS};
use super::walk::Proof;
use crate::frame::at_most;
use crate::signing::SignedBytes;
use crate::wire::proof_item::Outcome;
use crate::{
    Frame, InvalidSignature, ItemDigest, Keypair, Malformed, Message, ProofHash, ProtocolSpec, Rpc,
    Signature, SignedOrder, VerifyingKey, protocols, wire,
};

/// coordinator → node: prove that you hold these blobs.
#[derive(Debug, Clone, Copy)]
pub struct Prove;

impl Rpc for Prove {
    const PROTOCOL: ProtocolSpec = protocols::PROOF_CHALLENGE;
    type Request = ChallengeRequest;
    type Response = ProofAnswer;
}

/// What a node says of one challenged blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemAnswer {
    pub outcome: ItemOutcome,
    /// The node's own measure; it decides nothing.
    pub duration_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome {
    /// A claim until it is verified.
    Proven(Proof),
    Missing,
    Corrupt,
    Busy,
}

impl ItemAnswer {
    fn wire_outcome(&self) -> Outcome {
        match self.outcome {
            ItemOutcome::Proven(_) => Outcome::Proven,
            ItemOutcome::Missing => Outcome::Missing,
            ItemOutcome::Corrupt => Outcome::Corrupt,
            ItemOutcome::Busy => Outcome::Busy,
        }
    }

    /// `derive_key("fsn pos v1 item", challenge_id[16] ‖ index:u32 ‖ blob_id[32] ‖ length:u64 ‖
    /// difficulty:u32 ‖ seed[32] ‖ outcome:u8 ‖ proof_hash[32] ‖ BLAKE3(body)[32] ‖ duration_ms:u64)`.
    /// Without a proof its hash is 32 zeros and its body empty. `None` when the challenge has no such
    /// blob.
    pub fn digest(&self, challenge: &Challenge, index: usize) -> Option<ItemDigest> {
        let item = challenge.items().get(index)?;
        let (proof_hash, body) = match &self.outcome {
            ItemOutcome::Proven(proof) => (*proof.proof_hash.as_bytes(), &proof.body[..]),
            _ => ([0; 32], &[][..]),
        };
        let mut hasher = blake3::Hasher::new_derive_key("fsn pos v1 item");
        hasher.update(challenge.id().as_bytes());
        hasher.update(&(index as u32).to_le_bytes());
        hasher.update(item.blob_id.as_bytes());
        hasher.update(&item.length.to_le_bytes());
        hasher.update(&challenge.difficulty().get().to_le_bytes());
        hasher.update(item.seed.as_bytes());
        hasher.update(&[self.wire_outcome() as u8]);
        hasher.update(&proof_hash);
        hasher.update(blake3::hash(body).as_bytes());
        hasher.update(&self.duration_ms.to_le_bytes());
        Some(ItemDigest::from_bytes(*hasher.finalize().as_bytes()))
    }
}

/// What a node has signed, without the proofs themselves.
///
/// Signed: `"fsn pos v1 answer" ‖ network_id[32] ‖ BLAKE3(challenge)[32] ‖ BLAKE3(all item digests in
/// order)[32]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerStatement {
    /// One for each blob of the challenge, in the same order.
    pub item_digests: Vec<ItemDigest>,
    pub signature: Signature,
}

impl AnswerStatement {
    pub fn verify(&self, challenge: &Challenge) -> Result<(), InvalidSignature> {
        if self.item_digests.len() != challenge.items().len() {
            return Err(InvalidSignature);
        }
        VerifyingKey::of_peer(&challenge.parties().node)
            .map_err(|_| InvalidSignature)?
            .verify(
                &signed_bytes(challenge, &self.item_digests),
                &self.signature,
            )
    }
}

fn signed_bytes(challenge: &Challenge, item_digests: &[ItemDigest]) -> Vec<u8> {
    SignedBytes::new("fsn pos v1 answer")
        .raw(challenge.parties().network_id.as_bytes())
        .raw(challenge.hash().as_bytes())
        .raw(&hash_of_all(item_digests))
        .finish()
}

pub(super) fn hash_of_all(item_digests: &[ItemDigest]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for digest in item_digests {
        hasher.update(digest.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Why a message is not this node's answer to this challenge. It says nothing about any blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAnswer {
    #[error("it answers {answered} blobs of the {asked} that were asked for")]
    WrongCount { asked: usize, answered: usize },
    #[error("the node has not signed it for this challenge")]
    NotSigned,
}

/// node → coordinator: one item for each blob, in the order of the challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofAnswer {
    pub items: Vec<ItemAnswer>,
    pub signature: Signature,
    /// Orders of coordinators to delete what is missing; at most [`MAX_CHALLENGE_ITEMS`]. They speak for
    /// themselves, so the signature does not cover them.
    pub orders: Vec<SignedOrder>,
}

impl ProofAnswer {
    /// `items` are those of the challenge, in its order.
    pub fn sign(
        challenge: &Challenge,
        items: Vec<ItemAnswer>,
        node: &Keypair,
    ) -> Result<Self, Malformed> {
        if items.len() != challenge.items().len() {
            return Err(Malformed("an answer has one item for each challenged blob"));
        }
        let message = signed_bytes(challenge, &digests(challenge, &items));
        Ok(Self {
            signature: Signature::sign(node, &message)?,
            items,
            orders: Vec::new(),
        })
    }

    /// Accepts the answer only if the challenged node signed exactly these items for exactly this
    /// challenge. The proofs in it are still to be verified.
    pub fn open(&self, challenge: &Challenge) -> Result<AnswerStatement, UnusableAnswer> {
        let (asked, answered) = (challenge.items().len(), self.items.len());
        if asked != answered {
            return Err(UnusableAnswer::WrongCount { asked, answered });
        }
        let statement = AnswerStatement {
            item_digests: digests(challenge, &self.items),
            signature: self.signature,
        };
        let verified = statement.verify(challenge);
        verified.map_err(|_| UnusableAnswer::NotSigned)?;
        Ok(statement)
    }
}

fn digests(challenge: &Challenge, items: &[ItemAnswer]) -> Vec<ItemDigest> {
    let items = items.iter().enumerate();
    items
        .filter_map(|(index, item)| item.digest(challenge, index))
        .collect()
}

impl Message for ProofAnswer {
    fn into_frame(self) -> Frame {
        let item = |item: ItemAnswer| {
            let outcome = item.wire_outcome() as i32;
            let (proof_hash, body) = match item.outcome {
                ItemOutcome::Proven(proof) => {
                    let hash = Bytes::copy_from_slice(proof.proof_hash.as_bytes());
                    (hash, proof.body)
                }
                _ => (Bytes::new(), Bytes::new()),
            };
            wire::ProofItem {
                outcome,
                proof_hash,
                duration_ms: item.duration_ms,
                body,
            }
        };
        Frame::whole(&wire::ProofChallengeResponse {
            items: self.items.into_iter().map(item).collect(),
            signature: Bytes::copy_from_slice(self.signature.as_bytes()),
            orders: self.orders.iter().map(SignedOrder::to_wire).collect(),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_CHALLENGE_ITEMS, 1, &bytes)?;
        at_most(MAX_CHALLENGE_ITEMS, 3, &bytes)?;
        let message = <wire::ProofChallengeResponse as prost::Message>::decode(bytes)?;
        let items = message.items.into_iter().map(ItemAnswer::try_from);
        let orders = message.orders.iter().map(SignedOrder::from_wire);
        Ok(Self {
            items: items.collect::<Result<_, _>>()?,
            signature: Signature::try_from(&message.signature[..])?,
            orders: orders.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<wire::ProofItem> for ItemAnswer {
    type Error = Malformed;

    fn try_from(item: wire::ProofItem) -> Result<Self, Malformed> {
        let outcome = match item.outcome() {
            Outcome::Proven => ItemOutcome::Proven(Proof {
                proof_hash: ProofHash::try_from(&item.proof_hash[..])
                    .map_err(|_| Malformed("a proof hash must have 32 bytes"))?,
                body: item.body,
            }),
            Outcome::Unspecified => return Err(Malformed("an unknown outcome of a proof")),
            _ if !item.proof_hash.is_empty() || !item.body.is_empty() => {
                return Err(Malformed("a proof beside an outcome that has none"));
            }
            Outcome::Missing => ItemOutcome::Missing,
            Outcome::Corrupt => ItemOutcome::Corrupt,
            Outcome::Busy => ItemOutcome::Busy,
        };
        Ok(Self {
            outcome,
            duration_ms: item.duration_ms,
        })
    }
}
