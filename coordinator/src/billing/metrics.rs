//! What billing counts.

use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

pub struct BillingMetrics {
    pub blocks_sealed: Counter,
    pub ledger_contradictions: Counter,
}

impl BillingMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            ledger_contradictions: metrics.counter(
                "ledger_contradictions",
                "Heads of the ledger that contradict the one handed out before",
            ),
            blocks_sealed: metrics.counter("blocks_sealed", "Ledger blocks sealed"),
        }
    }
}
