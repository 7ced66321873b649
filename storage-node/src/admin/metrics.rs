//! `GET /metrics`: what an operator wants to be woken for, and what he draws curves of, in the format of Prometheus.

use kit::metrics::{Metrics, show};
use prometheus_client::metrics::gauge::Gauge;

use super::NodeStatus;

/// What all names of the node's metrics begin with.
pub(crate) const PREFIX: &str = "fsn_node";

type Told = fn(&NodeStatus) -> u64;

/// Read off a status when somebody asks for it.
const GAUGES: [(&str, &str, Told); 22] = [
    (
        "ledger_contradictions",
        "Heads of the ledger that contradict each other: above 0 it was rewritten",
        |node| node.ledger.contradictions.len() as u64,
    ),
    (
        "ledger_days_kept",
        "Heads of days that the node has kept",
        |node| node.ledger.days_kept as u64,
    ),
    (
        "coordinators",
        "Coordinators that the network has",
        |node| node.coordinators.len() as u64,
    ),
    (
        "coordinators_connected",
        "Coordinators that are connected",
        |node| {
            node.coordinators
                .values()
                .filter(|one| one.connected)
                .count() as u64
        },
    ),
    (
        "coordinators_accepting",
        "Coordinators that have accepted the node",
        |node| {
            node.coordinators
                .values()
                .filter(|one| one.accepted)
                .count() as u64
        },
    ),
    (
        "refuses_writes",
        "1 while the disk refuses writes",
        |node| u64::from(node.fault.is_some()),
    ),
    ("capacity_bytes", "What the node may take", |node| {
        node.quota.capacity_bytes
    }),
    ("used_bytes", "What it has taken", |node| {
        node.quota.used_bytes
    }),
    ("free_bytes", "What it still takes", |node| {
        node.quota.free_bytes
    }),
    ("disk_free_bytes", "What is free on its disk", |node| {
        node.quota.disk_free_bytes
    }),
    ("disk_total_bytes", "What its disk has", |node| {
        node.quota.disk_total_bytes
    }),
    ("live_blobs", "Blobs that it holds", |node| {
        node.catalogue.live.blobs
    }),
    ("live_bytes", "Bytes of the blobs that it holds", |node| {
        node.catalogue.live.bytes
    }),
    ("trashed_blobs", "Blobs in its trash", |node| {
        node.catalogue.trashed.blobs
    }),
    ("corrupt_blobs", "Blobs that are damaged", |node| {
        node.catalogue.corrupt.blobs
    }),
    ("lost_blobs", "Blobs that are gone from the disk", |node| {
        node.catalogue.lost.blobs
    }),
    (
        "deferred_blobs",
        "Deletions that were ordered and put off: more than the node removes in a day",
        |node| node.deferred.held.blobs,
    ),
    (
        "scrubbed_blobs",
        "Blobs that were read since the start to find rot",
        |node| node.scrub.blobs_read,
    ),
    (
        "scrub_rounds",
        "Times since the start that all blobs were read to find rot",
        |node| node.scrub.rounds,
    ),
    (
        "scrub_damaged",
        "Blobs that this has found damaged or gone since the start",
        |node| node.scrub.corrupt + node.scrub.lost,
    ),
    (
        "challenged_at_seconds",
        "When the last challenge came, in seconds since 1970; 0 before the first one since the start",
        |node| seconds(node.served.last_challenge_at),
    ),
    (
        "started_at_seconds",
        "When the node started, in seconds since 1970",
        |node| seconds(Some(node.started_at)),
    ),
];

fn seconds(at: Option<jiff::Timestamp>) -> u64 {
    at.map_or(0, |at| u64::try_from(at.as_second()).unwrap_or(0))
}

/// All that the node measures.
pub(crate) struct Exposition {
    metrics: Metrics,
    gauges: Vec<(Gauge, Told)>,
}

impl Exposition {
    /// `metrics` has what others have registered.
    pub(crate) fn new(mut metrics: Metrics) -> Self {
        let gauges = GAUGES.map(|(name, help, told)| (metrics.gauge(name, help), told));
        Self {
            metrics,
            gauges: gauges.into(),
        }
    }

    pub(super) fn text(&self, status: &NodeStatus) -> Result<String, std::fmt::Error> {
        for (gauge, told) in &self.gauges {
            show(gauge, told(status));
        }
        self.metrics.encode()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kit::Clock;
    use kit::reference;

    use super::*;
    use crate::served::Served;

    #[test]
    fn the_reference_of_metrics_is_what_the_node_registers() {
        let mut metrics = Metrics::new(PREFIX, "0");
        Served::new(&mut metrics, Clock::system());
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let told = Exposition::new(metrics).metrics.reference();
        reference::holds(&page, "node", &told).unwrap();
    }
}
