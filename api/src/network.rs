//! `GET /network`: the signed document that says which network this is and where its coordinators are.
//!
//! It is [`proto`]'s, because nodes verify it byte for byte; here is how the API describes it.

pub use proto::{CoordinatorEntry, NetworkDocument};

/// Where the coordinators are, signed with the network key.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = NetworkDocument)]
#[expect(dead_code, reason = "the schema of a type of another crate")]
pub struct NetworkDocumentSchema {
    /// BLAKE3 of the public key, 64 hex digits.
    network_id: String,
    /// Ed25519, 64 hex digits.
    public_key: String,
    serial: u64,
    coordinators: Vec<CoordinatorSchema>,
    #[schema(format = DateTime)]
    issued_at: String,
    /// 128 hex digits; what is signed stands in docs/protocols.md.
    signature: String,
}

#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = Coordinator)]
#[expect(dead_code, reason = "the schema of a type of another crate")]
pub struct CoordinatorSchema {
    peer_id: String,
    addrs: Vec<String>,
}
