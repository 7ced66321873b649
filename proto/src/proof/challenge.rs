//! The question: which blobs one node is to prove, signed by the coordinator that asks.

use bytes::Bytes;

use super::question::{Difficulty, MAX_LENGTH, Question};
use crate::fields::{Fields, PEER_ID_BYTES, blob_id};
use crate::frame::at_most;
use crate::signing::SignedBytes;
use crate::{
    BlobId, ChallengeHash, ChallengeId, Frame, InvalidSignature, Keypair, Malformed, Message,
    NetworkId, PeerId, ProofSeed, Signature, VerifyingKey, wire,
};

/// Blobs that one challenge may name.
pub const MAX_CHALLENGE_ITEMS: usize = 16;

/// Bytes that all bodies of an answer may have together.
pub const MAX_MESSAGE_BODY_BYTES: u64 = 512 * 1024;

const TAG: &str = "fsn pos v1 challenge";
const ITEM_BYTES: usize = 32 + 8 + 32;

/// Who asks whom, and in which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    pub network_id: NetworkId,
    pub coordinator: PeerId,
    pub node: PeerId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeItem {
    pub blob_id: BlobId,
    pub length: u64,
    pub seed: ProofSeed,
}

/// One challenge message, within all bounds.
///
/// Signed: `"fsn pos v1 challenge" ‖ network_id[32] ‖ coordinator[38] ‖ node[38] ‖ challenge_id[16] ‖
/// issued_at_ms:u64 ‖ difficulty:u32 ‖ n:u32 ‖ n × (blob_id[32] ‖ length:u64 ‖ seed[32])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    parties: Parties,
    id: ChallengeId,
    issued_at_ms: u64,
    difficulty: Difficulty,
    items: Vec<ChallengeItem>,
}

impl Challenge {
    pub fn new(
        parties: Parties,
        id: ChallengeId,
        issued_at_ms: u64,
        difficulty: Difficulty,
        items: Vec<ChallengeItem>,
    ) -> Result<Self, Malformed> {
        let ed25519 = |peer: PeerId| peer.to_bytes().len() == PEER_ID_BYTES;
        if !ed25519(parties.node) || !ed25519(parties.coordinator) {
            return Err(Malformed("the peer id is not that of an Ed25519 key"));
        }
        if items.is_empty() || items.len() > MAX_CHALLENGE_ITEMS {
            return Err(Malformed("a challenge names 1 to 16 blobs"));
        }
        let possible = |item: &ChallengeItem| (1..=MAX_LENGTH).contains(&item.length);
        if !items.iter().all(possible) {
            return Err(Malformed("a challenged blob has 1 to 2^63 - 1 bytes"));
        }
        let challenge = Self {
            parties,
            id,
            issued_at_ms,
            difficulty,
            items,
        };
        let bodies = challenge
            .questions()
            .map(|question| question.max_body_bytes());
        if bodies.sum::<u64>() > MAX_MESSAGE_BODY_BYTES {
            return Err(Malformed("a challenge whose answer could exceed 512 KiB"));
        }
        Ok(challenge)
    }

    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    pub fn id(&self) -> ChallengeId {
        self.id
    }

    pub fn issued_at_ms(&self) -> u64 {
        self.issued_at_ms
    }

    pub fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    pub fn items(&self) -> &[ChallengeItem] {
        &self.items
    }

    /// What is asked of each blob, in order.
    pub fn questions(&self) -> impl ExactSizeIterator<Item = Question> + '_ {
        self.items.iter().map(|item| Question {
            blob_id: item.blob_id,
            length: item.length,
            seed: item.seed,
            difficulty: self.difficulty,
            peer_id: self.parties.node,
        })
    }

    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = SignedBytes::new(TAG)
            .raw(self.parties.network_id.as_bytes())
            .raw(&self.parties.coordinator.to_bytes())
            .raw(&self.parties.node.to_bytes())
            .raw(self.id.as_bytes())
            .u64(self.issued_at_ms)
            .u32(self.difficulty.get() as usize)
            .u32(self.items.len());
        for item in &self.items {
            bytes = bytes
                .raw(item.blob_id.as_bytes())
                .u64(item.length)
                .raw(item.seed.as_bytes());
        }
        bytes.finish()
    }

    /// Reads what [`Self::signed_bytes`] wrote; nothing else passes.
    pub fn from_signed_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Fields(bytes);
        if rest.take::<{ TAG.len() }>()? != TAG.as_bytes() {
            return Err(Malformed("not a challenge"));
        }
        let parties = Parties {
            network_id: NetworkId::from_bytes(rest.take()?),
            coordinator: rest.peer()?,
            node: rest.peer()?,
        };
        let id = ChallengeId::from_bytes(rest.take()?);
        let issued_at_ms = u64::from_le_bytes(rest.take()?);
        let difficulty = Difficulty::new(u32::from_le_bytes(rest.take()?))?;
        let count = u32::from_le_bytes(rest.take()?) as usize;
        if rest.0.len() != count.saturating_mul(ITEM_BYTES) {
            return Err(Malformed(
                "a challenge that does not end with its last blob",
            ));
        }
        let item = |mut fields: Fields<'_>| {
            Ok(ChallengeItem {
                blob_id: BlobId::from_bytes(fields.take()?),
                length: u64::from_le_bytes(fields.take()?),
                seed: ProofSeed::from_bytes(fields.take()?),
            })
        };
        let items = rest
            .0
            .chunks_exact(ITEM_BYTES)
            .take(MAX_CHALLENGE_ITEMS + 1);
        let items = items
            .map(Fields)
            .map(item)
            .collect::<Result<_, Malformed>>()?;
        Self::new(parties, id, issued_at_ms, difficulty, items)
    }

    /// What answers and verdicts call the challenge by.
    pub fn hash(&self) -> ChallengeHash {
        ChallengeHash::from_bytes(*blake3::hash(&self.signed_bytes()).as_bytes())
    }

    pub fn sign(&self, coordinator: &Keypair) -> Result<ChallengeRequest, Malformed> {
        Ok(ChallengeRequest {
            id: self.id,
            issued_at_ms: self.issued_at_ms,
            difficulty: self.difficulty,
            items: self.items.clone(),
            signature: Signature::sign(coordinator, &self.signed_bytes())?,
        })
    }

    pub fn verify(&self, signature: &Signature) -> Result<(), InvalidSignature> {
        VerifyingKey::of_peer(&self.parties.coordinator)
            .map_err(|_| InvalidSignature)?
            .verify(&self.signed_bytes(), signature)
    }
}

/// The part of a challenge that travels: the parties know themselves and each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeRequest {
    pub id: ChallengeId,
    pub issued_at_ms: u64,
    pub difficulty: Difficulty,
    /// At most [`MAX_CHALLENGE_ITEMS`].
    pub items: Vec<ChallengeItem>,
    pub signature: Signature,
}

impl ChallengeRequest {
    /// Accepts the challenge only if the coordinator of `parties` signed it for their node, and if
    /// answering it is within bounds.
    pub fn open(self, parties: Parties) -> Result<Challenge, Malformed> {
        let challenge = Challenge::new(
            parties,
            self.id,
            self.issued_at_ms,
            self.difficulty,
            self.items,
        )?;
        challenge
            .verify(&self.signature)
            .map_err(|_| Malformed("the coordinator's signature does not match"))?;
        Ok(challenge)
    }
}

impl Message for ChallengeRequest {
    fn into_frame(self) -> Frame {
        let items = self.items.iter().map(|item| wire::ChallengeItem {
            blob_id: Bytes::copy_from_slice(item.blob_id.as_bytes()),
            length: item.length,
            seed: Bytes::copy_from_slice(item.seed.as_bytes()),
        });
        Frame::whole(&wire::ProofChallengeRequest {
            challenge_id: Bytes::copy_from_slice(self.id.as_bytes()),
            issued_at_ms: self.issued_at_ms,
            difficulty: self.difficulty.get(),
            items: items.collect(),
            signature: Bytes::copy_from_slice(self.signature.as_bytes()),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_CHALLENGE_ITEMS, 4, &bytes)?;
        let message = <wire::ProofChallengeRequest as prost::Message>::decode(bytes)?;
        let item = |item: wire::ChallengeItem| {
            Ok(ChallengeItem {
                blob_id: blob_id(&item.blob_id)?,
                length: item.length,
                seed: ProofSeed::try_from(&item.seed[..])
                    .map_err(|_| Malformed("a seed must have 32 bytes"))?,
            })
        };
        Ok(Self {
            id: ChallengeId::try_from(&message.challenge_id[..])
                .map_err(|_| Malformed("a challenge id must have 16 bytes"))?,
            issued_at_ms: message.issued_at_ms,
            difficulty: Difficulty::new(message.difficulty)?,
            items: message
                .items
                .into_iter()
                .map(item)
                .collect::<Result<_, Malformed>>()?,
            signature: Signature::try_from(&message.signature[..])?,
        })
    }
}
