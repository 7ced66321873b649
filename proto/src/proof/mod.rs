//! Proof of storage: what a coordinator asks, what a node answers, what both sign.
//!
//! A challenge walks the leaves of a blob's BLAKE3 tree; where it goes next depends on the bytes that it
//! has just read, so the walk cannot be done without the blob. The visited leaves and the hashes that
//! lead from them to the root are the proof, and the root is the blob's name: whoever knows that name
//! can check it. `docs/proofs.md` is the specification; the formulas here are its.
//!
//! Rejected: sending hashes of the visited leaves only (a node could keep the hashes and drop the
//! bytes), and per-blob secrets kept by the coordinator (nobody else could check a proof).

mod answer;
mod chain;
mod challenge;
mod question;
mod statement;
mod tree;
mod walk;

pub use answer::{AnswerStatement, ItemAnswer, ItemOutcome, ProofAnswer, Prove, UnusableAnswer};
pub use challenge::{
    Challenge, ChallengeItem, ChallengeRequest, MAX_CHALLENGE_ITEMS, MAX_MESSAGE_BODY_BYTES,
    Parties,
};
pub use question::{Difficulty, Question};
pub use statement::{InvalidStatement, Judgement, MAX_STATEMENT_BYTES, ProofStatement, Verdict};
pub use walk::{
    BlobSource, MAX_PIECE_BYTES, OutsideBlob, Proof, ProofError, ProveError, prove, verify,
};
