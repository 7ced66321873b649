//! What billing counts.

use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

pub struct BillingMetrics {
    pub blocks_sealed: Counter,
}

impl BillingMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            blocks_sealed: metrics.counter("blocks_sealed", "Ledger blocks sealed"),
        }
    }
}
