//! How a file of a known size falls into chunks.

use std::ops::Range;

/// Sizes of a file and its chunks. Every chunk has `chunk_size` bytes, the last one perhaps fewer;
/// an empty file has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLayout {
    pub size_bytes: u64,
    pub chunk_size: u32,
}

/// A file has at most this many chunks: indices are 32-bit signed in the database.
pub const MAX_CHUNKS: u64 = i32::MAX as u64;

impl ChunkLayout {
    pub fn new(size_bytes: u64, chunk_size: u32) -> Self {
        Self {
            size_bytes,
            chunk_size: chunk_size.max(1),
        }
    }

    pub fn chunk_count(&self) -> u64 {
        self.size_bytes.div_ceil(u64::from(self.chunk_size))
    }

    /// Bytes in chunk `index`, or `None` beyond the last chunk.
    pub fn chunk_len(&self, index: u64) -> Option<u32> {
        let start = index.checked_mul(u64::from(self.chunk_size))?;
        let rest = self
            .size_bytes
            .checked_sub(start)
            .filter(|rest| *rest > 0)?;
        Some(rest.min(u64::from(self.chunk_size)) as u32)
    }

    /// The chunks that a byte range touches, and how many bytes of the first are before it.
    pub fn chunks_of(&self, bytes: &Range<u64>) -> (Range<u64>, usize) {
        if bytes.is_empty() {
            return (0..0, 0);
        }
        let chunk_size = u64::from(self.chunk_size);
        let first = bytes.start / chunk_size;
        (
            first..bytes.end.div_ceil(chunk_size),
            (bytes.start % chunk_size) as usize,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_file_has_no_chunk() {
        let layout = ChunkLayout::new(0, 256);
        assert_eq!(layout.chunk_count(), 0);
        assert_eq!(layout.chunk_len(0), None);
    }

    proptest! {
        #[test]
        fn chunk_lengths_add_up_to_the_file(size in 0u64..100_000, chunk_size in 1u32..5000) {
            let layout = ChunkLayout::new(size, chunk_size);
            let sum: u64 = (0..layout.chunk_count())
                .map(|index| u64::from(layout.chunk_len(index).unwrap()))
                .sum();
            prop_assert_eq!(sum, size);
            prop_assert_eq!(layout.chunk_len(layout.chunk_count()), None);
        }

        #[test]
        fn a_range_lies_in_its_chunks(
            size in 1u64..100_000, chunk_size in 1u32..5000, a in any::<u64>(), b in any::<u64>(),
        ) {
            let (a, b) = (a % size, b % size);
            let range = a.min(b)..a.max(b) + 1;
            let layout = ChunkLayout::new(size, chunk_size);
            let (chunks, skip) = layout.chunks_of(&range);
            let start = chunks.start * u64::from(chunk_size);
            prop_assert_eq!(start + skip as u64, range.start);
            prop_assert!((chunks.end - 1) * u64::from(chunk_size) < range.end);
            prop_assert!(chunks.end * u64::from(chunk_size) >= range.end);
        }
    }
}
