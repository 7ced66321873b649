//! Why bytes are not sealed, or not opened.
//!
//! Rejected: telling whoever opens what exactly was wrong. Nobody can act on it, and attackers would learn from it.

/// A text that cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The format has 32 bits for the length.
    #[error("a chunk of {bytes} bytes is longer than can be sealed (4 GiB - 1)")]
    TooLong {
        /// Length of the chunk.
        bytes: usize,
    },
    /// Pieces of coded chunks are sealed under keys of their chunks, which the file has not.
    #[error("the file has one key for all of its chunks: no piece of them is sealed")]
    NoKeyForEachChunk,
    /// What another one is to go on with begins with a segment.
    #[error("a text can be left to another only where a segment ends")]
    MidSegment,
    /// The cryptographic library does not take a key or a text of proper length: it lacks memory.
    #[error("the cryptographic library refuses to seal")]
    Library,
}

/// Bytes that this key does not open as what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes were not sealed with this key for this place")]
pub struct OpenError;
