//! `GET /files/{id}/durability`: where a file's replicas are, and what they last proved.

use jiff::Timestamp;
use proto::evidence::StatementItem;
use proto::{BlobId, FileId, NodeId};
use serde::{Deserialize, Serialize};

/// How safe a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Durability {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub file_id: FileId,
    /// Replicas that each chunk should have: copies, or coded pieces.
    pub replication_target: u32,
    /// Any so many different ones give a chunk back: 1 of copies.
    #[serde(default = "one")]
    pub needed: u32,
    /// Healthy replicas, of pieces different ones, of the chunk that has fewest, in the whole file; `null` for an empty one.
    pub min_healthy: Option<u32>,
    pub chunks: Vec<ChunkDurability>,
    pub next_cursor: Option<String>,
}

const fn one() -> u32 {
    1
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChunkDurability {
    pub index: u32,
    pub replicas: Vec<ReplicaView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplicaView {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub node_id: NodeId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub blob_id: BlobId,
    /// Which piece of its chunk it is: 0 of a copy.
    #[serde(default)]
    pub piece: u8,
    /// `stored`, or `demoted`: it failed, was reported lost, or its node is out.
    #[cfg_attr(feature = "openapi", schema(example = "stored"))]
    pub state: String,
    /// Why it was demoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demoted_reason: Option<String>,
    /// Counts as a copy: not demoted, its node in good standing, and offline for no longer than the grace of
    /// repair; where no more replicas can be read than give the chunk back, there is no grace.
    pub healthy: bool,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub stored_at: Timestamp,
    pub last_proof: Option<LastProofView>,
    /// What the coordinator signs that the blob is; missing where the chunk's digest is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastProofView {
    /// `passed`, `failed` or `missed`.
    #[cfg_attr(feature = "openapi", schema(example = "passed"))]
    pub outcome: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
}
