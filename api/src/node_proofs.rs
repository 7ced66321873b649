//! `GET /nodes/{id}/proofs`: what a node was asked, and how it was judged.
//!
//! It is what `coordinator verify-evidence` reads, so it stands where evidence is checked.

pub use proto::evidence::ProofsView;
