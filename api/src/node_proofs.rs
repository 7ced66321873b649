//! `GET /nodes/{id}/proofs`: what a node was asked, and how it was judged.

use jiff::Timestamp;
use proto::ChallengeId;
use proto::evidence::OrderItem;
use serde::{Deserialize, Serialize};

/// The judgement over one challenge message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofsView {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub challenge_id: ChallengeId,
    pub passed: u32,
    pub failed: u32,
    pub missed: u32,
    pub busy: u32,
    /// Challenge, digests of the answers and judgement, signed by both sides (base64; docs/proofs.md).
    pub statement: String,
    /// Orders to delete blobs that the node showed for blobs that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderItem>,
}
