//! What a scripted node does when it is asked for something.

use proto::BlobId;

/// How a node takes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnStore {
    Keep,
    /// Says that its disk is full.
    Refuse,
    /// Keeps nothing and signs for another blob.
    Forge,
    /// Keeps it and signs for one byte more.
    Lengthen,
    /// Keeps it and never says so.
    Hang,
    /// Disconnects for good.
    Vanish,
}

/// How a node gives a blob back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnRead {
    Give,
    /// One bit is wrong.
    Flip,
    /// The last byte is missing.
    Shorten,
    Deny,
    /// Says that its disk fails at this moment.
    Refuse,
    Hang,
    Vanish,
}

/// How a node answers a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnProve {
    Prove,
    /// Proofs of other bytes in place of the blobs: of what it has borrowed, or of zeros.
    Guess,
    /// Says that it lacks every blob.
    Deny,
    Busy,
    /// Sends its last answer again.
    Replay,
    /// One item too many.
    Surplus,
    Hang,
    Vanish,
}

/// How a node tells what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInventory {
    Tell,
    /// So many blobs in an answer.
    TellSlowly(usize),
    /// All but one.
    Omit(BlobId),
    /// Every digest is wrong.
    Lie,
    /// The last blob first.
    Disorder,
    /// One blob after another that nobody has ever stored.
    NeverEnd,
}
