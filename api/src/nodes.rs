//! `/nodes`: the fleet, and how a node gets into it.
//!
//! A node proves that it owns its key by signing [`proto::Registration`] over a nonce of the coordinator's.
//! What carries a key or a token has no `Debug`, so that none gets into a log by chance.

use jiff::Timestamp;
use proto::{NetworkId, NodeId};
use serde::{Deserialize, Serialize};

/// A storage node as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub node_id: NodeId,
    pub name: String,
    pub peer_id: String,
    #[cfg_attr(feature = "openapi", schema(example = "probation"))]
    pub state: String,
    pub state_reason: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub state_since: Timestamp,
    /// Gets nothing new for some hours, whatever its state.
    pub on_hold: bool,
    /// Why it is on hold, and for how long; `null` when it is not.
    #[serde(default)]
    pub hold_reason: Option<String>,
    pub online: bool,
    pub region: Option<String>,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub blob_count: u64,
    /// Reputation in parts per million.
    #[cfg_attr(feature = "openapi", schema(example = 1_000_000))]
    pub score_ppm: u32,
    /// Uptime on the last day that was settled; `null` before the first.
    pub uptime_ppm: Option<u32>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_seen_at: Option<Timestamp>,
}

/// A node with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeDetail {
    #[serde(flatten)]
    pub node: Node,
    /// The last twenty changes of its state, the newest first.
    pub state_history: Vec<StateChangeView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateChangeView {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(example = "active"))]
    pub from: String,
    #[cfg_attr(feature = "openapi", schema(example = "suspended"))]
    pub to: String,
    /// `audit`, `admin`, `gone` or `operator`.
    #[cfg_attr(feature = "openapi", schema(example = "audit"))]
    pub cause: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Nonce {
    /// 64 hex digits, good for one registration.
    pub nonce: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// The newest form of the registration statement that is taken; 1 where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_form: Option<u8>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    pub peer_id: String,
    pub name: String,
    pub capacity_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// From `nodes/register/nonce`.
    pub nonce: String,
    /// The form of the registration statement that is signed; 1 where it is missing. Form 1 leaves region and token
    /// unsigned, and is taken without a token in networks that admit any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<u8>,
    /// Ed25519 by the node's identity over the registration statement, 128 hex digits.
    pub signature: String,
    /// An admission token, where the network asks for one; it names the node's operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisteredNode {
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub node_id: NodeId,
    /// Shown this once.
    pub api_key: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network_id: NetworkId,
    pub state: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeToken {
    /// Shown this once. Pass it to `storage-node init --token`.
    pub token: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
}
