//! `/nodes/{id}/drain`: a node leaves in order. For the node itself, and for its operator.

use jiff::Timestamp;
use proto::MicroCredits;
use serde::{Deserialize, Serialize};

/// What draining the node would mean now. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainPlan {
    /// Copies to move; of a large node an estimate.
    pub blobs: u64,
    /// Of the chunks' plaintext.
    pub bytes: u64,
    /// Other nodes that are online and take blobs.
    pub eligible_nodes: usize,
    /// What they have room for.
    pub free_bytes: u64,
    /// Whether a drain would be begun.
    pub possible: bool,
    /// Why not.
    pub obstacle: Option<String>,
    /// Room that is missing.
    pub missing_bytes: u64,
    /// As fast as the last drain of this network went, and no faster than `repair.bytes_per_second`; `null` where
    /// neither is known.
    pub estimated_seconds: Option<u64>,
    /// Held back from the node's pay so far: comes back when it has drained.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub returned_microcredits: MicroCredits,
    /// What a node loses by draining: nothing. One that just stops forfeits what is held back.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub forfeited_microcredits: MicroCredits,
}

/// How far a node has come, and its statement at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainView {
    /// draining, drained, cancelled, or disqualified.
    #[cfg_attr(feature = "openapi", schema(example = "draining"))]
    pub state: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Timestamp>,
    /// What it held when it began; of a large node an estimate.
    pub blobs: u64,
    pub bytes: u64,
    /// What it still holds.
    pub blobs_left: u64,
    pub bytes_left: u64,
    /// At the pace so far; `null` before anything was moved, and at the end.
    pub estimated_seconds: Option<u64>,
    /// In all days that are settled.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub earned_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub paid_out_microcredits: MicroCredits,
    /// Still held back. Once the node has drained, the next settlement makes it available.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub held_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available_microcredits: MicroCredits,
}
