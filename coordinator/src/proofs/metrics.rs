//! What proofs count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use sqlx::PgConnection;

use crate::metrics::Metrics;
use crate::proofs::tables;

pub struct ProofMetrics {
    audit_age_seconds: Gauge,
    audit_overdue_seconds: Gauge,
    pub audits_passed: Counter,
    pub audits_failed: Counter,
    pub audits_missed: Counter,
    pub audit_errors: Counter,
    pub ordered_deletions: Counter,
    pub audit_plan_seconds: Histogram,
    pub audit_read_seconds: Histogram,
    pub audit_write_seconds: Histogram,
}

impl ProofMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            audit_age_seconds: metrics.gauge(
                "audit_age_seconds",
                "How long ago the oldest round of the audit was planned that a connected node is in; normally less than twice proofs.interval",
            ),
            audit_overdue_seconds: metrics.gauge(
                "audit_overdue_seconds",
                "How long the connected node has waited for its next challenge whose turn came first; 0 while the audit keeps up",
            ),
            ordered_deletions: metrics.counter(
                "ordered_deletions",
                "Replicas that nodes lack because a coordinator ordered them to delete them, though rows name them",
            ),
            audits_passed: metrics.counter("audits_passed", "Replicas that passed"),
            audits_failed: metrics
                .counter("audits_failed", "Replicas that failed and were demoted"),
            audits_missed: metrics
                .counter("audits_missed", "Replicas for which no answer came in time"),
            audit_errors: metrics.counter("audit_errors", "Audits of a node that were given up"),
            audit_plan_seconds: metrics.seconds(
                "audit_plan_seconds",
                "Time to plan a node's round",
                0.0005,
                14,
            ),
            audit_read_seconds: metrics.seconds(
                "audit_read_seconds",
                "Time to look up the replicas of a message",
                0.0005,
                14,
            ),
            audit_write_seconds: metrics.seconds(
                "audit_write_seconds",
                "Time to write down what came of a message",
                0.0005,
                14,
            ),
        }
    }

    /// Brings what the database says of the audit up to now.
    pub async fn measure(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let pace = tables::audit_schedule::pace(connection).await?;
        self.audit_age_seconds.set(pace.oldest_round_seconds);
        self.audit_overdue_seconds.set(pace.overdue_seconds);
        Ok(())
    }
}
