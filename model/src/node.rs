//! A storage node as the database knows it.

use jiff::Timestamp;
use proto::{NodeId, PeerId};

use crate::ids::UserId;
use crate::node_state::{Holds, NodeState};

#[derive(Debug, Clone)]
pub struct Node {
    pub id: NodeId,
    pub peer_id: PeerId,
    pub name: String,
    pub operator: Option<UserId>,
    pub region: Option<String>,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub blob_count: u64,
    pub software: String,
    pub state: NodeState,
    pub state_reason: String,
    pub score_ppm: u32,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
    pub state_since: Timestamp,
    pub holds: Holds,
    /// As coordinators have agreed; the same of the two below.
    pub offline_since: Option<Timestamp>,
    /// Offline for longer than the grace: its replicas are replaced.
    pub away_since: Option<Timestamp>,
    /// The database was restored, and it has not been gone through since.
    pub awaits_adoption_since: Option<Timestamp>,
}
