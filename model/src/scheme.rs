//! How a chunk is kept on nodes: as whole copies, or in coded pieces.
//!
//! The one place that knows how many pieces there are, how many of them give the chunk back, when it is in danger,
//! and how many bytes are paid for. Everybody else asks. Rejected: a number of replicas that each room interprets
//! for itself, which coded storage would have to change in all of them.

use proto::{Malformed, Piece};

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

    /// `None` for a code that makes no sense: without parity, of no data, or of one piece of data, which copies are.
    pub const fn coded(needed: u32, pieces: u32) -> Option<Self> {
        if needed <= 1 || pieces <= needed {
            return None;
        }
        Some(Self::Coded { needed, pieces })
    }

    /// As files keep it: of one piece of data there are copies.
    pub const fn of_row(data_pieces: i32, pieces: i32) -> Self {
        match Self::coded(data_pieces.unsigned_abs(), pieces.unsigned_abs()) {
            Some(coded) => coded,
            None => Self::copies(pieces.unsigned_abs()),
        }
    }

    pub const fn is_coded(self) -> bool {
        matches!(self, Self::Coded { .. })
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

    /// With fewer healthy pieces a chunk is repaired, and then up to all of them. A copy that is lost is made again at once;
    /// of a coded chunk each repair reads k pieces, so the first loss waits for a second one.
    pub const fn repair_at(self) -> u32 {
        match self {
            Self::Copies { pieces } => pieces,
            Self::Coded { pieces, .. } => pieces - 1,
        }
    }

    /// How many more pieces can be lost, and one: what is nearest to its loss comes first. Of copies as many as there are.
    pub const fn margin(self, healthy: u32) -> u32 {
        (healthy + 1).saturating_sub(self.needed())
    }

    /// Pieces of one chunk that may stand in one failure domain, or on newcomers: half of what may be lost, so that neither
    /// takes a chunk away together with another misfortune.
    pub const fn most_together(self) -> u32 {
        match self {
            Self::Copies { .. } => 1,
            Self::Coded { needed, pieces } => {
                let half = (pieces - needed) / 2;
                if half > 1 { half } else { 1 }
            }
        }
    }

    /// A piece as it is signed and sealed.
    pub fn piece(self, number: u8) -> Result<Piece, Malformed> {
        let many = |_| Malformed("a chunk has no more than 255 pieces");
        let pieces = u8::try_from(self.pieces()).map_err(many)?;
        let needed = u8::try_from(self.needed()).map_err(many)?;
        Piece::new(number, needed, pieces)
    }

    /// Bytes of plaintext in each piece of a chunk of so many bytes; of a whole file, in all pieces of one number, for all
    /// chunks but the last fill theirs. A code works on pieces of an even length.
    pub const fn piece_len(self, chunk_len: u64) -> u64 {
        match self {
            Self::Copies { .. } => chunk_len,
            Self::Coded { needed, .. } => 2 * chunk_len.div_ceil(2 * needed as u64),
        }
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
        assert_eq!(scheme.piece_len(8001), 1002, "the last piece is padded");
        assert_eq!((scheme.repair_at(), scheme.most_together()), (11, 2));
        assert_eq!(
            [7, 8, 9, 12].map(|healthy| scheme.margin(healthy)),
            [0, 1, 2, 5]
        );
    }

    #[test]
    fn three_of_six_keep_one_piece_to_a_domain_and_copies_are_made_again_at_the_first_loss() {
        let scheme = Scheme::coded(3, 6).unwrap();
        assert_eq!((scheme.repair_at(), scheme.most_together()), (5, 1));
        let copies = Scheme::copies(3);
        assert_eq!((copies.repair_at(), copies.most_together()), (3, 1));
        assert_eq!([0, 1, 3].map(|healthy| copies.margin(healthy)), [0, 1, 3]);
    }

    #[test]
    fn rows_of_older_releases_are_copies() {
        assert_eq!(Scheme::of_row(1, 3), Scheme::copies(3));
        assert_eq!(Scheme::of_row(8, 12), Scheme::coded(8, 12).unwrap());
    }

    #[test]
    fn a_file_keeps_as_much_as_its_chunks_do() {
        for (needed, pieces) in [(3, 6), (8, 12)] {
            let scheme = Scheme::coded(needed, pieces).unwrap();
            let chunk = u64::from(needed) * 4096;
            for size in [1, 7, 4096, chunk - 1, chunk, chunk + 1, 5 * chunk + 4099] {
                let lengths = (0..size.div_ceil(chunk)).map(|n| (size - n * chunk).min(chunk));
                let sum: u128 = lengths.map(|length| scheme.stored_bytes(length)).sum();
                assert_eq!(scheme.stored_bytes(size), sum, "{size}");
            }
        }
    }

    #[test]
    fn a_code_without_parity_is_none() {
        assert_eq!(Scheme::coded(3, 3), None);
        assert_eq!(Scheme::coded(0, 3), None);
        assert_eq!(Scheme::coded(1, 3), None, "copies");
    }
}
