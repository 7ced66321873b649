//! `GET /status`: who the node is, how it is, and how it stands with its coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use blobstore::{Counts, Deferred, ScrubStatus, Scrubber, Space, Store};
use jiff::Timestamp;
use kit::Clock;
use network::{Channel, NetworkHandle};
use proto::{NetworkContext, NodeActivity, NodeId};
use serde::{Deserialize, Serialize};

use crate::membership::{CoordinatorStatus, Coordinators, LedgerDays, LedgerEvidence, Lifecycle};
use crate::peers::SOFTWARE;
use crate::served::{Served, ServedStatus};

/// What a status is taken of.
pub(crate) struct Subject {
    pub name: String,
    pub node_id: NodeId,
    pub context: NetworkContext,
    pub clock: Clock,
    pub started_at: Timestamp,
    pub store: Store,
    pub scrubber: Scrubber,
    pub lifecycle: Lifecycle,
    pub coordinators: Arc<Coordinators>,
    pub network: NetworkHandle,
    pub ledger_days: LedgerDays,
    pub served: Served,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
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
    /// Deletions that were ordered and put off: more than the node removes in a day.
    pub deferred: Deferred,
    pub scrub: ScrubStatus,
    /// What it has done for coordinators since it started.
    #[serde(default)]
    pub served: ServedStatus,
    pub coordinators: BTreeMap<String, CoordinatorStatus>,
    /// What the node has kept of the ledger's past.
    pub ledger: LedgerEvidence,
    /// Connections that were secured since the start, by the cipher agreed upon.
    pub handshakes: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activity {
    Running,
    Draining,
    Stopping,
    ReadOnly,
}

impl From<NodeActivity> for Activity {
    fn from(activity: NodeActivity) -> Self {
        match activity {
            NodeActivity::Running => Self::Running,
            NodeActivity::Draining => Self::Draining,
            NodeActivity::Stopping => Self::Stopping,
            NodeActivity::ReadOnly => Self::ReadOnly,
        }
    }
}

impl NodeStatus {
    pub(crate) async fn of(node: &Subject) -> Result<Self> {
        let coordinators = node.coordinators.statuses().into_iter();
        Ok(Self {
            name: node.name.clone(),
            node_id: node.node_id,
            peer_id: node.context.peer_id.to_string(),
            network_id: node.context.network_id.to_string(),
            software: SOFTWARE.to_owned(),
            started_at: node.started_at,
            activity: node.lifecycle.activity().await.into(),
            fault: node.store.fault().await,
            quota: node.store.space()?,
            catalogue: node.store.counts(),
            deferred: node.store.deferred(),
            scrub: node.scrubber.status(),
            served: node.served.status(),
            coordinators: coordinators
                .map(|(peer, status)| (peer.to_string(), status))
                .collect(),
            ledger: node.ledger_days.evidence(),
            handshakes: Channel::ALL
                .into_iter()
                .map(|channel| (channel, node.network.handshakes().count(channel)))
                .filter(|(_, count)| *count > 0)
                .map(|(channel, count)| (channel.name().to_owned(), count))
                .collect(),
        })
    }
}
