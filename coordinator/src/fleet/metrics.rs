//! What the fleet counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use sqlx::PgConnection;

use network::{Channel, PeerState, RefusalReason};

use crate::fleet::peers::PeerNetwork;
use crate::fleet::tables;
use crate::fleet::tables::counts::Counts;
use crate::metrics::Metrics;
use kit::metrics::{raise_to, show};
use model::node_state::NodeState;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChannelLabels {
    channel: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabels {
    state: &'static str,
}

pub struct FleetMetrics {
    nodes: Family<NodeLabels, Gauge>,
    nodes_offline: Family<NodeLabels, Gauge>,
    capacity_bytes: Family<NodeLabels, Gauge>,
    used_bytes: Family<NodeLabels, Gauge>,
    free_bytes: Family<NodeLabels, Gauge>,
    pub peers: Family<PeerLabels, Gauge>,
    pub peer_rtt_seconds: Histogram,
    pub unresponsive_peers: Counter,
    pub refused_connections: Family<RefusalLabels, Counter>,
    pub peer_handshakes: Family<ChannelLabels, Counter>,
    pub nodes_online: Gauge,
    pub fleet_alarms: Counter,
}

impl FleetMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            nodes: metrics.family("nodes", "Nodes of the network, by state"),
            nodes_offline: metrics.family("nodes_offline", "Nodes that no coordinator hears of, by state"),
            capacity_bytes: metrics.family("capacity_bytes", "What nodes may take, by state"),
            used_bytes: metrics.family("used_bytes", "What nodes have taken, by state"),
            free_bytes: metrics.family("free_bytes", "What nodes still take, by state"),
            peers: metrics.family("peers", "Peers by state: connected, unresponsive (connected and silent), disconnected, failed"),
            peer_rtt_seconds: metrics.seconds("peer_rtt_seconds", "Round trips of pings", 0.000_25, 16),
            unresponsive_peers: metrics.counter("unresponsive_peers", "Times that a connected peer fell silent"),
            refused_connections: metrics.family("refused_connections", "Connections of peers that were refused, by reason"),
            peer_handshakes: metrics.family("peer_handshakes", "Connections with peers that were secured, by the cipher agreed upon"),
            nodes_online: metrics.gauge("nodes_online", "Nodes connected and heard of lately"),
            fleet_alarms: metrics.counter("fleet_alarms", "Times that much of the fleet failed at once"),
        }
    }

    /// Brings what the database says of nodes up to now.
    pub async fn count_nodes(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let counted = tables::counts::by_state(connection).await?;
        for state in NodeState::ALL {
            let labels = NodeLabels {
                state: state.name(),
            };
            let of_state = counted.iter().find(|counts| counts.state == state);
            let gauge = |family: &Family<NodeLabels, Gauge>, count: fn(&Counts) -> u64| {
                show(&family.get_or_create(&labels), of_state.map_or(0, count));
            };
            gauge(&self.nodes, |counts| counts.nodes);
            gauge(&self.nodes_offline, |counts| counts.offline);
            gauge(&self.capacity_bytes, |counts| counts.capacity_bytes);
            gauge(&self.used_bytes, |counts| counts.used_bytes);
            gauge(&self.free_bytes, |counts| counts.free_bytes);
        }
        Ok(())
    }

    /// Brings what is counted elsewhere up to now; called when somebody reads it.
    pub async fn measure(&self, network: &PeerNetwork) {
        let views = network.observer.view().await;
        let count = |state, responsive| {
            let matches = views.iter().filter(|view| {
                view.state == state
                    && (state != PeerState::Connected || view.responsive == responsive)
            });
            i64::try_from(matches.count()).unwrap_or(i64::MAX)
        };
        for (state, value) in [
            ("connected", count(PeerState::Connected, true)),
            ("unresponsive", count(PeerState::Connected, false)),
            ("disconnected", count(PeerState::Disconnected, true)),
            ("failed", count(PeerState::Failed, true)),
        ] {
            self.peers.get_or_create(&PeerLabels { state }).set(value);
        }
        for refused in RefusalReason::ALL {
            let reason = refused.name();
            let counter = self
                .refused_connections
                .get_or_create(&RefusalLabels { reason });
            raise_to(&counter, network.handle.refusals().of(refused));
        }
        for secured in Channel::ALL {
            let channel = secured.name();
            let counter = self
                .peer_handshakes
                .get_or_create(&ChannelLabels { channel });
            raise_to(&counter, network.handle.handshakes().count(secured));
        }
    }
}
