//! The peer network as the use-cases and the operator see it.

use std::sync::Arc;

use network::{NetworkHandle, PeerState, PeersObserver, RefusalReason};

use crate::fleet::admission::RegisteredPeers;
use crate::metrics::{Metrics, PeerLabels, RefusalLabels};

/// What there is to ask of a running peer network.
#[derive(Debug, Clone)]
pub struct PeerNetwork {
    pub handle: NetworkHandle,
    pub observer: PeersObserver,
    pub registered: Arc<RegisteredPeers>,
}

impl PeerNetwork {
    /// Brings the gauges up to now; called when somebody reads them.
    pub async fn measure(&self, metrics: &Metrics) {
        let views = self.observer.view().await;
        let count = |state, responsive| {
            let matches = views.iter().filter(|view| {
                view.state == state
                    && (state != PeerState::Connected || view.responsive == responsive)
            });
            i64::try_from(matches.count()).unwrap_or(i64::MAX)
        };
        for (label, value) in [
            ("connected", count(PeerState::Connected, true)),
            ("unresponsive", count(PeerState::Connected, false)),
            ("disconnected", count(PeerState::Disconnected, true)),
            ("failed", count(PeerState::Failed, true)),
        ] {
            let labels = PeerLabels { state: label };
            metrics.peers.get_or_create(&labels).set(value);
        }
        for reason in RefusalReason::ALL {
            let labels = RefusalLabels {
                reason: reason.name(),
            };
            let refused = self.handle.refusals().of(reason);
            let counter = metrics.refused_connections.get_or_create(&labels);
            counter.inc_by(refused.saturating_sub(counter.get()));
        }
    }
}
