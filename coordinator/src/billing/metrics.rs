//! What billing counts.

use jiff::Timestamp;
use kit::metrics::show;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgConnection;

use crate::billing::tables;
use crate::database;
use crate::metrics::Metrics;

pub struct BillingMetrics {
    pub blocks_sealed: Counter,
    pub ledger_contradictions: Counter,
    settled_age_seconds: Gauge,
    unsealed_age_seconds: Gauge,
    payouts_pending: Gauge,
    purchases_pending: Gauge,
}

impl BillingMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            ledger_contradictions: metrics.counter(
                "ledger_contradictions",
                "Heads of the ledger that contradict the one handed out before",
            ),
            blocks_sealed: metrics.counter("blocks_sealed", "Ledger blocks sealed"),
            settled_age_seconds: metrics.gauge(
                "settled_age_seconds",
                "How long ago the moment was up to which all pay is settled; normally less than twice money.settlement_interval",
            ),
            unsealed_age_seconds: metrics.gauge(
                "ledger_unsealed_age_seconds",
                "Age of the oldest transfer that is in no block of the ledger yet",
            ),
            payouts_pending: metrics.gauge(
                "payouts_pending",
                "Payouts that the provider has not confirmed",
            ),
            purchases_pending: metrics.gauge(
                "purchases_pending",
                "Purchases that were begun and not paid",
            ),
        }
    }

    /// Brings what the database says of money on its way up to now.
    pub async fn measure(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        let now = database::now(connection).await?;
        let age = |since: Timestamp| now.duration_since(since).as_secs().max(0);
        let pending = tables::pending::look(connection).await?;
        self.settled_age_seconds.set(age(pending.settled_until));
        show(&self.payouts_pending, pending.payouts);
        show(&self.purchases_pending, pending.purchases);
        let unsealed = ledger::unsealed_since(connection).await?;
        self.unsealed_age_seconds.set(unsealed.map_or(0, age));
        Ok(())
    }
}
