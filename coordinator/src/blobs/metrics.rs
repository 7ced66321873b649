//! What the chunk plane counts.

use std::time::Instant;

use kit::metrics::{Doubling, show};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use sqlx::PgConnection;

use crate::blobs::tables;
use crate::metrics::Metrics;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    direction: &'static str,
    outcome: &'static str,
}

/// Which way a blob goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Store,
    Read,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Read => "read",
        }
    }
}

pub struct BlobMetrics {
    transfers: Family<OutcomeLabels, Counter>,
    transfer_bytes: Family<DirectionLabels, Counter>,
    transfer_seconds: Family<DirectionLabels, Histogram, Doubling>,
    purges_waiting: Gauge,
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
            transfers: metrics.family(
                "blob_transfers",
                "Blobs sent to nodes (store) and fetched from them (read), by outcome: done, failed. Those that lost a race are not counted",
            ),
            transfer_bytes: metrics.family(
                "blob_transfer_bytes",
                "Bytes of the blobs that went to nodes (store) and came from them (read)",
            ),
            transfer_seconds: metrics.seconds_of(
                "blob_transfer_seconds",
                "How long blobs take to nodes (store) and from them (read)",
                Doubling {
                    shortest: 0.001,
                    buckets: 15,
                },
            ),
            purges_waiting: metrics.gauge(
                "purges_waiting",
                "Blobs that nodes are to be told to delete now; 100000 stands for that many or more",
            ),
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

    /// Times a blob on its way and counts what comes of it. One whose future is dropped is not counted.
    pub async fn transfer<T, E>(
        &self,
        direction: Direction,
        work: impl Future<Output = Result<T, E>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<T, E> {
        let began = Instant::now();
        let outcome = work.await;
        let direction = direction.name();
        let ended = match &outcome {
            Ok(done) => {
                let labels = DirectionLabels { direction };
                let seconds = self.transfer_seconds.get_or_create(&labels);
                seconds.observe(began.elapsed().as_secs_f64());
                let sum = self.transfer_bytes.get_or_create(&labels);
                sum.inc_by(bytes(done) as u64);
                "done"
            }
            Err(_) => "failed",
        };
        let labels = OutcomeLabels {
            direction,
            outcome: ended,
        };
        self.transfers.get_or_create(&labels).inc();
        outcome
    }

    /// Brings what the database says of deletions up to now.
    pub async fn measure(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        show(
            &self.purges_waiting,
            tables::purges::count_due(connection).await?,
        );
        Ok(())
    }
}
