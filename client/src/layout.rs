//! How content is cut into pieces: each some whole chunks, and whole segments where it is sealed, so that pieces go and
//! come in any order, several at a time.

use std::ops::Range;

use sealing::end_to_end::content::{
    SEGMENT_LEN, sealed_len, segments_of, segments_with, text_start,
};

/// About so long is a piece. Twice as many requests cost the coordinator more, half as many leave less to do at the same
/// time, and more to be sent again.
pub(crate) const PIECE: u64 = 2 * 1024 * 1024;

/// Of one content: its text, and the bytes that are stored of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub text: u64,
    pub stored: u64,
    pub is_sealed: bool,
}

impl Layout {
    /// `None`: there is nothing so long.
    pub(crate) fn new(text: u64, is_sealed: bool) -> Option<Self> {
        let stored = match is_sealed {
            true => sealed_len(text)?,
            false => text,
        };
        Some(Self {
            text,
            stored,
            is_sealed,
        })
    }

    /// Segments that begin in a range of stored bytes which begins and ends with segments.
    pub(crate) fn segments(&self, stored: &Range<u64>) -> Range<u64> {
        let segment = SEGMENT_LEN as u64;
        stored.start / segment..stored.end.div_ceil(segment)
    }

    /// The text in a range of stored bytes, which begins and ends with segments where they are sealed.
    pub(crate) fn text_of(&self, stored: &Range<u64>) -> Range<u64> {
        if !self.is_sealed {
            return stored.clone();
        }
        let segments = self.segments(stored);
        let at = |segment: u64| match segment < segments_of(self.text) {
            true => text_start(segment),
            false => self.text,
        };
        at(segments.start)..at(segments.end)
    }

    /// The stored bytes in which a range of the text lies.
    pub(crate) fn stored_of(&self, text: &Range<u64>) -> Range<u64> {
        if !self.is_sealed {
            return text.clone();
        }
        let (segments, _) = segments_with(text);
        let at = |segment: u64| segment.saturating_mul(SEGMENT_LEN as u64).min(self.stored);
        at(segments.start)..at(segments.end)
    }
}

/// Cuts stored bytes into pieces of this length, which end where the pieces of all stored bytes would.
pub(crate) fn pieces(stored: Range<u64>, length: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = stored.start;
    std::iter::from_fn(move || {
        let end = ((at / length + 1) * length).min(stored.end);
        let piece = at..end;
        at = end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_hold_a_range_and_their_texts_follow_each_other(
            text in 0u64..20_000_000, a in any::<u64>(), b in any::<u64>(), is_sealed in any::<bool>(),
        ) {
            let layout = Layout::new(text, is_sealed).unwrap();
            let (a, b) = (a % (text + 1), b % (text + 1));
            let wanted = a.min(b)..a.max(b);
            let texts: Vec<_> = pieces(layout.stored_of(&wanted), PIECE).map(|piece| layout.text_of(&piece)).collect();
            for pair in texts.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
            }
            if !wanted.is_empty() {
                prop_assert!(texts[0].start <= wanted.start);
                prop_assert!(texts[texts.len() - 1].end >= wanted.end);
            }
            for piece in pieces(layout.stored_of(&wanted), PIECE) {
                prop_assert!(piece.end - piece.start <= PIECE);
            }
        }

        #[test]
        fn all_of_a_text_is_in_all_of_its_pieces(text in 0u64..20_000_000, is_sealed in any::<bool>()) {
            let layout = Layout::new(text, is_sealed).unwrap();
            prop_assert_eq!(layout.text_of(&(0..layout.stored)), 0..text);
        }
    }
}
