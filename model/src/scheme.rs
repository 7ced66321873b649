//! How a chunk is kept on nodes: as whole copies, or in coded pieces.
//!
//! The one place that knows how many pieces there are, how many of them give the chunk back, when it is in danger,
//! and how many bytes are paid for. Everybody else asks. Rejected: a number of replicas that each room interprets
//! for itself, which coded storage would have to change in all of them.

/// `Copies` are 1 of n; `Coded` are k of n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Each piece is the whole chunk.
    Copies { pieces: u32 },
    /// Any `needed` of the pieces give the chunk back.
    Coded { needed: u32, pieces: u32 },
}

impl Scheme {
    pub const fn copies(pieces: u32) -> Self {
        Self::Copies { pieces }
    }

    /// `None` for a code that makes no sense: without parity, or of no data.
    pub const fn coded(needed: u32, pieces: u32) -> Option<Self> {
        if needed == 0 || pieces <= needed {
            return None;
        }
        Some(Self::Coded { needed, pieces })
    }

    /// Pieces that are promised, each on a node of its own.
    pub const fn pieces(self) -> u32 {
        match self {
            Self::Copies { pieces } | Self::Coded { pieces, .. } => pieces,
        }
    }

    /// Pieces without which the chunk is gone.
    pub const fn needed(self) -> u32 {
        match self {
            Self::Copies { .. } => 1,
            Self::Coded { needed, .. } => needed,
        }
    }

    /// Pieces with which the loss of one more is no loss of the chunk. With fewer readable ones there is no grace.
    pub const fn safe(self) -> u32 {
        let safe = self.needed() + 1;
        if safe < self.pieces() {
            safe
        } else {
            self.pieces()
        }
    }

    /// Bytes of plaintext in each piece of a chunk of so many bytes.
    pub const fn piece_len(self, chunk_len: u64) -> u64 {
        chunk_len.div_ceil(self.needed() as u64)
    }

    /// Bytes that are kept, and paid for, of so many.
    pub const fn stored_bytes(self, bytes: u64) -> u128 {
        self.piece_len(bytes) as u128 * self.pieces() as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_copies_cost_three_times_the_size_and_any_one_gives_the_chunk_back() {
        let scheme = Scheme::copies(3);
        assert_eq!((scheme.pieces(), scheme.needed(), scheme.safe()), (3, 1, 2));
        assert_eq!(scheme.piece_len(1000), 1000);
        assert_eq!(scheme.stored_bytes(1000), 3000);
    }

    #[test]
    fn a_single_copy_can_be_no_safer_than_it_is() {
        assert_eq!(Scheme::copies(1).safe(), 1);
    }

    #[test]
    fn eight_of_twelve_cost_half_of_three_copies_and_four_may_be_lost() {
        let scheme = Scheme::coded(8, 12).unwrap();
        assert_eq!(
            (scheme.pieces(), scheme.needed(), scheme.safe()),
            (12, 8, 9)
        );
        assert_eq!(scheme.stored_bytes(8000), 12_000);
        assert_eq!(scheme.piece_len(8001), 1001, "the last piece is padded");
    }

    #[test]
    fn a_code_without_parity_is_none() {
        assert_eq!(Scheme::coded(3, 3), None);
        assert_eq!(Scheme::coded(0, 3), None);
    }
}
