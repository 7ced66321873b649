//! What a proof answers, and how much an answer may weigh.

use blake3::CHUNK_LEN;

use crate::{BlobId, Malformed, PeerId, ProofSeed};

/// How many leaves a challenge visits in a blob, 1 to [`Difficulty::MAX`]. A leaf may be visited twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Difficulty(u32);

impl Difficulty {
    pub const STANDARD: Self = Self(16);
    pub const MAX: Self = Self(256);

    pub fn new(leaves: u32) -> Result<Self, Malformed> {
        match leaves {
            1..=256 => Ok(Self(leaves)),
            _ => Err(Malformed("a difficulty is 1 to 256")),
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// No valid body for a blob of this length is longer.
    pub fn max_body_bytes(self, length: u64) -> u64 {
        let leaves = leaf_count(length);
        let visited = leaves.min(u64::from(self.0));
        if visited == 0 {
            return 0;
        }
        let height = leaves.next_power_of_two().ilog2();
        // The most siblings are needed when the visited leaves lie as far apart as they can.
        let siblings = visited * u64::from(height - visited.ilog2());
        length.min(visited * CHUNK_LEN as u64) + siblings * 32
    }
}

fn leaf_count(length: u64) -> u64 {
    length.div_ceil(CHUNK_LEN as u64)
}

/// What one proof answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub blob_id: BlobId,
    /// Bytes of the blob, 1 to 2^63 - 1.
    pub length: u64,
    pub seed: ProofSeed,
    pub difficulty: Difficulty,
    /// The node that is asked: a proof of another node's is none of its own.
    pub peer_id: PeerId,
}

/// The longest blob that can be named: lengths stand in signed 64-bit columns, and the arithmetic of
/// the tree must not overflow.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

impl Question {
    pub(super) fn is_possible(&self) -> bool {
        (1..=MAX_LENGTH).contains(&self.length)
    }

    pub(super) fn leaf_count(&self) -> u64 {
        leaf_count(self.length)
    }

    pub(super) fn leaf_len(&self, index: u64) -> usize {
        let begin = index * CHUNK_LEN as u64;
        (self.length - begin).min(CHUNK_LEN as u64) as usize
    }

    /// No valid body is longer.
    pub fn max_body_bytes(&self) -> u64 {
        self.difficulty.max_body_bytes(self.length)
    }
}
