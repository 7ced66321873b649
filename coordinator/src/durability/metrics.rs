//! What durability counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabels {
    /// Healthy replicas of the chunks that wait.
    pub healthy: u32,
}

pub struct DurabilityMetrics {
    pub repair_queue: Family<QueueLabels, Gauge>,
    pub repair_oldest_seconds: Gauge,
    pub repaired_replicas: Counter,
    pub repaired_bytes: Counter,
    pub removed_replicas: Counter,
    pub repairs_failed: Counter,
    pub reconciled_nodes: Counter,
    pub reconciles_held_back: Counter,
    pub unknown_blobs: Counter,
    pub missing_blobs: Counter,
    pub unreadable_locators: Counter,
    pub restore_mode: Gauge,
    pub restored_replicas: Counter,
}

impl DurabilityMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            repair_queue: metrics.family(
                "repair_queue",
                "Chunks that wait for repair or have too many replicas, by healthy replicas",
            ),
            repair_oldest_seconds: metrics.gauge(
                "repair_oldest_seconds",
                "How long the chunk that has waited longest for repair has done so",
            ),
            repaired_replicas: metrics
                .counter("repaired_replicas", "Replicas that repair has added"),
            repaired_bytes: metrics.counter("repaired_bytes", "Bytes that repair has stored"),
            removed_replicas: metrics.counter(
                "removed_replicas",
                "Replicas that were too many, on nodes that leave, or lost, and are no more",
            ),
            repairs_failed: metrics.counter(
                "repairs_failed",
                "Attempts to repair a chunk that brought too few copies",
            ),
            reconciled_nodes: metrics.counter(
                "reconciled_nodes",
                "Times that a node was compared with the database",
            ),
            reconciles_held_back: metrics.counter(
                "reconciles_held_back",
                "Comparisons about which nothing was done because they found too much",
            ),
            unknown_blobs: metrics.counter(
                "unknown_blobs",
                "Blobs that nothing named and that went to their node's trash",
            ),
            missing_blobs: metrics.counter(
                "missing_blobs",
                "Replicas that were challenged because their node did not list them",
            ),
            unreadable_locators: metrics.counter(
                "unreadable_locators",
                "Blobs that nothing named and that no master key knows",
            ),
            restore_mode: metrics.gauge(
                "restore_mode",
                "1 while the database was restored and its replicas are rebuilt from the nodes",
            ),
            restored_replicas: metrics.counter(
                "restored_replicas",
                "Replicas that were found on nodes after a restore of the database",
            ),
        }
    }
}
