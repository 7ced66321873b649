//! `GET /network/summary`: how the network does, for everybody. A few seconds old.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = NetworkSummary))]
pub struct Summary {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Nodes that are alike, those of the largest regions first; of a network with very many regions, those of the
    /// smallest are one.
    pub nodes: Vec<NodeGroup>,
    pub proofs_last_hour: ProofTally,
    pub repair: RepairTally,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeGroup {
    /// As their operators say; `null` of those that say none.
    pub region: Option<String>,
    #[cfg_attr(feature = "openapi", schema(example = "active"))]
    pub state: String,
    pub online: bool,
    pub nodes: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    /// Copies of chunks that they hold.
    pub copies: u64,
}

/// Copies that nodes were asked to prove in the last hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofTally {
    pub passed: u64,
    pub failed: u64,
    /// Nothing came in time.
    pub missed: u64,
}

/// Chunks that wait to have copies added or moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RepairTally {
    pub chunks: u64,
    /// Healthy copies of the chunk that has fewest; `null` when none waits.
    pub fewest_healthy: Option<u32>,
    /// Since when the first of them waits.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub oldest_since: Option<Timestamp>,
}
