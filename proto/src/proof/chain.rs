//! The chain of hashes that decides which leaf is visited next.

use std::sync::LazyLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use super::question::Question;
use crate::ProofHash;

static INIT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("fsn pos v1 init"));
static INDEX: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("fsn pos v1 index"));
static FINAL: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("fsn pos v1 final"));

/// `h_k`, and k.
pub(super) struct Chain {
    hash: [u8; 32],
    step: u32,
    leaf_count: u64,
}

impl Chain {
    pub(super) fn start(question: &Question) -> Self {
        let mut hasher = Hasher::new_from_context_key(&INIT);
        hasher.update(question.seed.as_bytes());
        hasher.update(&question.peer_id.to_bytes());
        hasher.update(question.blob_id.as_bytes());
        hasher.update(&question.length.to_le_bytes());
        hasher.update(&question.difficulty.get().to_le_bytes());
        Self {
            hash: *hasher.finalize().as_bytes(),
            step: 0,
            leaf_count: question.leaf_count(),
        }
    }

    /// The leaf to visit in this step, uniform over all leaves.
    pub(super) fn next_index(&self) -> u64 {
        let leaves = u128::from(self.leaf_count);
        // Words below this would make some leaves more likely than others: 2^64 mod n.
        let unfair = (1u128 << 64) % leaves;
        let mut words = Hasher::new_from_context_key(&INDEX)
            .update(&self.hash)
            .finalize_xof();
        loop {
            let mut word = [0; 8];
            words.fill(&mut word);
            let product = u128::from(u64::from_le_bytes(word)) * leaves;
            if product & u128::from(u64::MAX) >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    pub(super) fn visit(&mut self, index: u64, leaf: &[u8]) {
        self.step += 1;
        let mut hasher = Hasher::new_keyed(&self.hash);
        hasher.update(&self.step.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.update(&(leaf.len() as u16).to_le_bytes());
        hasher.update(leaf);
        self.hash = *hasher.finalize().as_bytes();
    }

    pub(super) fn finish(self) -> ProofHash {
        let mut hasher = Hasher::new_from_context_key(&FINAL);
        hasher.update(&self.hash);
        ProofHash::from_bytes(*hasher.finalize().as_bytes())
    }
}
