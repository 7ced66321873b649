//! What the parts of a running node share: who it is, its store, and how it stands with its
//! coordinators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use jiff::Timestamp;
use libp2p_identity::{Keypair, PeerId};
use network::{Channel, NetworkHandle};
use proto::{HeartbeatAnswer, HeartbeatReport, HelloReport, NetworkContext, NodeActivity, NodeId};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::store::{Counts, ScrubStatus, Scrubber, Space, Store};

/// States of a node in the network, as coordinators name them.
pub const DRAINING: &str = "draining";
pub const DRAINED: &str = "drained";

pub const SOFTWARE: &str = concat!("storage-node/", env!("CARGO_PKG_VERSION"));

pub struct State {
    pub name: String,
    pub node_id: NodeId,
    pub keypair: Keypair,
    pub context: NetworkContext,
    pub started_at: Timestamp,
    pub store: Store,
    pub scrubber: Scrubber,
    pub clock: Clock,
    network: NetworkHandle,
    stopping: AtomicBool,
    /// Those of the pinned network document, and nobody else.
    coordinators: Mutex<BTreeMap<PeerId, CoordinatorStatus>>,
}

/// How the node stands with one coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    pub connected: bool,
    pub accepted: bool,
    /// Why the coordinator does not accept the node.
    pub rejection: Option<String>,
    /// probation, active, suspended, …
    pub state: String,
    pub state_reason: String,
    pub earned_microcredits: i64,
    pub last_heartbeat_at: Option<Timestamp>,
    /// How much the coordinator's clock is ahead of ours.
    pub clock_difference_ms: Option<i64>,
}

/// `GET /status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub node_id: NodeId,
    pub peer_id: String,
    pub network_id: String,
    pub software: String,
    pub started_at: Timestamp,
    pub activity: Activity,
    /// The error with which the disk refuses writes.
    pub fault: Option<String>,
    pub quota: Space,
    pub catalogue: Counts,
    pub scrub: ScrubStatus,
    pub coordinators: BTreeMap<String, CoordinatorStatus>,
    /// Connections that were secured since the start, by the cipher agreed upon.
    pub handshakes: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    Running,
    Draining,
    Stopping,
    ReadOnly,
}

/// Everything that a [`State`] is made of and that does not change.
pub struct Parts {
    pub name: String,
    pub node_id: NodeId,
    pub keypair: Keypair,
    pub context: NetworkContext,
    pub store: Store,
    pub scrubber: Scrubber,
    pub clock: Clock,
    pub network: NetworkHandle,
}

impl State {
    pub fn new(parts: Parts) -> Self {
        Self {
            name: parts.name,
            node_id: parts.node_id,
            keypair: parts.keypair,
            context: parts.context,
            started_at: (parts.clock)(),
            store: parts.store,
            scrubber: parts.scrubber,
            clock: parts.clock,
            network: parts.network,
            stopping: AtomicBool::new(false),
            coordinators: Mutex::default(),
        }
    }

    /// Whether a connected coordinator says that the node is leaving, or has left: the state of a drain
    /// is the network's, and what the node knows of it comes with heartbeats.
    pub fn is_draining(&self) -> bool {
        let coordinators = self.lock();
        let mut connected = coordinators.values().filter(|status| status.connected);
        connected.any(|status| [DRAINING, DRAINED].contains(&status.state.as_str()))
    }

    /// The coordinator has just agreed to drain the node: no new blobs, without waiting to hear it again.
    pub fn note_draining(&self) {
        for status in self.lock().values_mut() {
            DRAINING.clone_into(&mut status.state);
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_coordinator(&self, peer: &PeerId) -> bool {
        self.lock().contains_key(peer)
    }

    /// Replaces the set of peers that are served; those that stay keep their status.
    pub fn set_coordinators(&self, peers: &[PeerId]) {
        let mut coordinators = self.lock();
        coordinators.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            coordinators.entry(*peer).or_default();
        }
    }

    pub fn has_connection(&self) -> bool {
        self.lock().values().any(|status| status.connected)
    }

    pub fn accepted_by(&self) -> Vec<PeerId> {
        let coordinators = self.lock();
        let accepted = coordinators.iter().filter(|(_, status)| status.accepted);
        accepted.map(|(peer, _)| *peer).collect()
    }

    pub fn note(&self, peer: &PeerId, change: impl FnOnce(&mut CoordinatorStatus)) {
        if let Some(status) = self.lock().get_mut(peer) {
            change(status);
        }
    }

    pub fn note_heartbeat(&self, peer: &PeerId, answer: &HeartbeatAnswer) {
        let now = (self.clock)();
        self.note(peer, |status| {
            if status.state != answer.state {
                let HeartbeatAnswer {
                    state,
                    state_reason,
                    ..
                } = answer;
                tracing::info!(%peer, state, reason = state_reason, "the coordinator says how the node stands");
                if state == DRAINED {
                    tracing::warn!(
                        "this node has drained: it holds nothing any more, gets nothing, and may be \
                         stopped for good (`storage-node drain` shows its final statement). To give \
                         space again, run `storage-node init` with another data directory"
                    );
                }
            }
            status.state.clone_from(&answer.state);
            status.state_reason.clone_from(&answer.state_reason);
            status.earned_microcredits = answer.earned.get();
            status.last_heartbeat_at = Some(now);
            let theirs = i64::try_from(answer.server_time_ms).ok();
            status.clock_difference_ms =
                theirs.and_then(|theirs| theirs.checked_sub(now.as_millisecond()));
        });
    }

    pub async fn activity(&self) -> NodeActivity {
        if self.is_stopping() {
            NodeActivity::Stopping
        } else if self.store.fault().await.is_some() {
            NodeActivity::ReadOnly
        } else if self.is_draining() {
            NodeActivity::Draining
        } else {
            NodeActivity::Running
        }
    }

    pub fn hello(&self) -> Result<HelloReport> {
        let space = self.store.space()?;
        Ok(HelloReport {
            node_id: self.node_id,
            software: SOFTWARE.to_owned(),
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            free_bytes: space.free_bytes,
            blob_count: self.store.counts().live.blobs,
            draining: self.is_draining(),
        })
    }

    pub async fn heartbeat(&self) -> Result<HeartbeatReport> {
        let space = self.store.space()?;
        Ok(HeartbeatReport {
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            free_bytes: space.free_bytes,
            blob_count: self.store.counts().live.blobs,
            activity: self.activity().await,
        })
    }

    pub async fn status(&self) -> Result<NodeStatus> {
        let coordinators = self.lock().clone();
        Ok(NodeStatus {
            name: self.name.clone(),
            node_id: self.node_id,
            peer_id: self.context.peer_id.to_string(),
            network_id: self.context.network_id.to_string(),
            software: SOFTWARE.to_owned(),
            started_at: self.started_at,
            activity: match self.activity().await {
                NodeActivity::Running => Activity::Running,
                NodeActivity::Draining => Activity::Draining,
                NodeActivity::Stopping => Activity::Stopping,
                NodeActivity::ReadOnly => Activity::ReadOnly,
            },
            fault: self.store.fault().await,
            quota: self.store.space()?,
            catalogue: self.store.counts(),
            scrub: self.scrubber.status(),
            coordinators: coordinators
                .into_iter()
                .map(|(peer, status)| (peer.to_string(), status))
                .collect(),
            handshakes: Channel::ALL
                .into_iter()
                .map(|channel| (channel, self.network.handshakes().count(channel)))
                .filter(|(_, count)| *count > 0)
                .map(|(channel, count)| (channel.name().to_owned(), count))
                .collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, CoordinatorStatus>> {
        self.coordinators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
