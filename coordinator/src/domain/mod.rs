//! The rules: pure functions and types. No I/O, no SQL, no clock, no randomness of their own.

pub mod chunking;
pub mod evidence;
pub mod ids;
pub mod ledger;
pub mod money;
pub mod names;
pub mod node;
pub mod placement;
pub mod proofs;
pub mod sealing;
