//! `GET /admin/peers`: the peer network as one coordinator sees it. For admins.

use proto::NodeId;
use serde::{Deserialize, Serialize};

/// A peer. Times are milliseconds before now, or from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    pub peer_id: String,
    /// Of the node, while it is online.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<uuid::Uuid>))]
    pub node_id: Option<NodeId>,
    /// connected, disconnected or failed
    #[cfg_attr(feature = "openapi", schema(example = "connected"))]
    pub state: String,
    /// `false` for a connected peer that has been silent for too long.
    pub responsive: bool,
    pub addr: Option<String>,
    pub connections: usize,
    pub connected_ms: Option<u64>,
    pub last_seen_ms: Option<u64>,
    pub rtt_ms: Option<RoundTrip>,
    /// Ping intervals in a row in which nothing came.
    pub missed_pings: u32,
    pub dial_failures: u32,
    pub next_dial_ms: Option<u64>,
    pub last_error: Option<String>,
    pub software: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoundTrip {
    pub last: f64,
    pub lowest: f64,
    pub smoothed: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peers {
    pub items: Vec<Peer>,
}
