//! What the fleet counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use network::{Channel, PeerState, RefusalReason};

use crate::fleet::peers::PeerNetwork;
use crate::metrics::{Metrics, raise_to};

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

pub struct FleetMetrics {
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
            peers: metrics.family("peers", "Peers by state: connected, unresponsive (connected and silent), disconnected, failed"),
            peer_rtt_seconds: metrics.seconds("peer_rtt_seconds", "Round trips of pings", 0.000_25, 16),
            unresponsive_peers: metrics.counter("unresponsive_peers", "Times that a connected peer fell silent"),
            refused_connections: metrics.family("refused_connections", "Connections of peers that were refused, by reason"),
            peer_handshakes: metrics.family("peer_handshakes", "Connections with peers that were secured, by the cipher agreed upon"),
            nodes_online: metrics.gauge("nodes_online", "Nodes connected and heard of lately"),
            fleet_alarms: metrics.counter("fleet_alarms", "Times that much of the fleet failed at once"),
        }
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
