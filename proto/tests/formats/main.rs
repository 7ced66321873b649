//! The formats that processes agree on, held to golden vectors and to arbitrary input.
//!
//! The vectors in `proto/vectors/` were made by another implementation in another language. A test
//! here that fails means that old peers, or signatures on disk, are no longer understood: mend the
//! code, not the vector.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod delete_orders;
mod hostile_inputs;
mod inventories;
mod message_vectors;
mod messages;
mod network_documents;
mod proof_messages;
mod proof_transcripts;
mod proofs;
mod statement_vectors;
mod statements;
mod values;
