//! What the chunk plane counts.

use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

pub struct BlobMetrics {
    pub store_failures: Counter,
    pub hedged_stores: Counter,
    pub bad_replicas: Counter,
    pub purges_done: Counter,
}

impl BlobMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
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
