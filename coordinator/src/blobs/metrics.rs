//! What the chunk plane counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

pub struct BlobMetrics {
    pub store_failures: Counter,
    pub hedged_stores: Counter,
    pub bad_replicas: Counter,
    pub purges_done: Counter,
    pub purges_deferred: Counter,
    pub deferred_purges: Gauge,
    pub braked_nodes: Gauge,
}

impl BlobMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            purges_deferred: metrics.counter(
                "purges_deferred",
                "Blobs that nodes have put into their trash because they were ordered to delete too many",
            ),
            deferred_purges: metrics.gauge(
                "deferred_purges",
                "Blobs whose deletion the nodes here have put off at present; not 0: is so much meant?",
            ),
            braked_nodes: metrics.gauge(
                "braked_nodes",
                "Nodes here that have put deletions off at present",
            ),
            store_failures: metrics.counter("store_failures", "Stores that brought no receipt"),
            hedged_stores: metrics.counter("hedged_stores", "Stores raced against a slow node"),
            bad_replicas: metrics.counter(
                "bad_replicas",
                "Replicas that a read found missing or damaged",
            ),
            purges_done: metrics.counter(
                "purges_done",
                "Blobs that nodes have acknowledged to be gone",
            ),
        }
    }
}
