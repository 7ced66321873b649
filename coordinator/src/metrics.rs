//! Counters and gauges, in the format of Prometheus.

use std::sync::atomic::Ordering;

use kit::JobStatus;
use network::{Channel, Handshakes};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The route's template, not the path: a bounded set.
    pub route: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChannelLabels {
    pub channel: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabels {
    pub state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabels {
    /// Healthy replicas of the chunks that wait.
    pub healthy: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    pub job: &'static str,
}

pub struct Metrics {
    registry: Registry,
    pub peers: Family<PeerLabels, Gauge>,
    pub peer_rtt_seconds: Histogram,
    pub unresponsive_peers: Counter,
    pub refused_connections: Family<RefusalLabels, Counter>,
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Histogram,
    pub uploaded_bytes: Counter,
    pub downloaded_bytes: Counter,
    pub store_failures: Counter,
    pub hedged_stores: Counter,
    pub bad_replicas: Counter,
    pub unreadable_chunks: Counter,
    pub nodes_online: Gauge,
    pub peer_handshakes: Family<ChannelLabels, Counter>,
    pub purges_done: Counter,
    pub purges_deferred: Counter,
    pub deferred_purges: Gauge,
    pub braked_nodes: Gauge,
    pub ordered_deletions: Counter,
    pub blocks_sealed: Counter,
    pub worker_failures: Counter,
    pub job_runs: Family<JobLabels, Counter>,
    pub job_failures: Family<JobLabels, Counter>,
    pub job_backlog: Family<JobLabels, Gauge>,
    pub audits_passed: Counter,
    pub audits_failed: Counter,
    pub audits_missed: Counter,
    pub audit_errors: Counter,
    pub audit_plan_seconds: Histogram,
    pub audit_read_seconds: Histogram,
    pub audit_write_seconds: Histogram,
    pub fleet_alarms: Counter,
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

/// What is counted elsewhere, however many read the metrics at the same time.
fn raise_to(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("fsn_coordinator"),
            peers: Family::default(),
            peer_rtt_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            unresponsive_peers: Counter::default(),
            refused_connections: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            uploaded_bytes: Counter::default(),
            downloaded_bytes: Counter::default(),
            store_failures: Counter::default(),
            hedged_stores: Counter::default(),
            bad_replicas: Counter::default(),
            unreadable_chunks: Counter::default(),
            nodes_online: Gauge::default(),
            peer_handshakes: Family::default(),
            purges_done: Counter::default(),
            purges_deferred: Counter::default(),
            deferred_purges: Gauge::default(),
            braked_nodes: Gauge::default(),
            ordered_deletions: Counter::default(),
            blocks_sealed: Counter::default(),
            worker_failures: Counter::default(),
            job_runs: Family::default(),
            job_failures: Family::default(),
            job_backlog: Family::default(),
            audits_passed: Counter::default(),
            audits_failed: Counter::default(),
            audits_missed: Counter::default(),
            audit_errors: Counter::default(),
            audit_plan_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            audit_read_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            audit_write_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            fleet_alarms: Counter::default(),
            repair_queue: Family::default(),
            repair_oldest_seconds: Gauge::default(),
            repaired_replicas: Counter::default(),
            repaired_bytes: Counter::default(),
            removed_replicas: Counter::default(),
            repairs_failed: Counter::default(),
            reconciled_nodes: Counter::default(),
            reconciles_held_back: Counter::default(),
            unknown_blobs: Counter::default(),
            missing_blobs: Counter::default(),
            unreadable_locators: Counter::default(),
            restore_mode: Gauge::default(),
            restored_replicas: Counter::default(),
        };
        metrics.registered()
    }

    /// What the background work says of itself; called when somebody reads it.
    pub fn note_jobs(&self, jobs: &[JobStatus]) {
        let failures: u64 = jobs.iter().map(|job| job.failures).sum();
        raise_to(&self.worker_failures, failures);
        for job in jobs {
            let labels = JobLabels { job: job.name };
            if let Some(backlog) = job.backlog {
                let gauge = self.job_backlog.get_or_create(&labels);
                gauge.set(i64::try_from(backlog).unwrap_or(i64::MAX));
            }
            raise_to(&self.job_failures.get_or_create(&labels), job.failures);
            raise_to(&self.job_runs.get_or_create(&labels), job.runs);
        }
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "peers",
            "Peers by state: connected, unresponsive (connected and silent), disconnected, failed",
            self.peers.clone(),
        );
        r.register(
            "peer_rtt_seconds",
            "Round trips of pings",
            self.peer_rtt_seconds.clone(),
        );
        r.register(
            "unresponsive_peers",
            "Times that a connected peer fell silent",
            self.unresponsive_peers.clone(),
        );
        r.register(
            "refused_connections",
            "Connections of peers that were refused, by reason",
            self.refused_connections.clone(),
        );
        r.register(
            "http_requests",
            "HTTP requests answered",
            self.requests.clone(),
        );
        r.register(
            "http_request_seconds",
            "Time to the head of the answer",
            self.request_seconds.clone(),
        );
        r.register(
            "uploaded_bytes",
            "Bytes of completed files",
            self.uploaded_bytes.clone(),
        );
        r.register(
            "downloaded_bytes",
            "Bytes of files handed to clients",
            self.downloaded_bytes.clone(),
        );
        r.register(
            "store_failures",
            "Stores that brought no receipt",
            self.store_failures.clone(),
        );
        r.register(
            "hedged_stores",
            "Stores raced against a slow node",
            self.hedged_stores.clone(),
        );
        r.register(
            "bad_replicas",
            "Replicas that a read found missing or damaged",
            self.bad_replicas.clone(),
        );
        r.register(
            "unreadable_chunks",
            "Chunks of which no replica could be read",
            self.unreadable_chunks.clone(),
        );
        r.register(
            "nodes_online",
            "Nodes connected and heard of lately",
            self.nodes_online.clone(),
        );
        r.register(
            "peer_handshakes",
            "Connections with peers that were secured, by the cipher agreed upon",
            self.peer_handshakes.clone(),
        );
        r.register(
            "purges_done",
            "Blobs that nodes have acknowledged to be gone",
            self.purges_done.clone(),
        );
        r.register(
            "purges_deferred",
            "Blobs that nodes have put into their trash because they were ordered to delete too many",
            self.purges_deferred.clone(),
        );
        r.register(
            "deferred_purges",
            "Blobs whose deletion the nodes here have put off at present; not 0: is so much meant?",
            self.deferred_purges.clone(),
        );
        r.register(
            "braked_nodes",
            "Nodes here that have put deletions off at present",
            self.braked_nodes.clone(),
        );
        r.register(
            "ordered_deletions",
            "Replicas that nodes lack because a coordinator ordered them to delete them, though rows name them",
            self.ordered_deletions.clone(),
        );
        r.register(
            "blocks_sealed",
            "Ledger blocks sealed",
            self.blocks_sealed.clone(),
        );
        r.register(
            "worker_failures",
            "Steps of background workers that failed",
            self.worker_failures.clone(),
        );
        r.register(
            "job_runs",
            "Steps of background jobs",
            self.job_runs.clone(),
        );
        r.register(
            "job_failures",
            "Steps of background jobs that failed",
            self.job_failures.clone(),
        );
        r.register(
            "job_backlog",
            "What waits for a background job",
            self.job_backlog.clone(),
        );
        r.register(
            "repair_queue",
            "Chunks that wait for repair or have too many replicas, by healthy replicas",
            self.repair_queue.clone(),
        );
        r.register(
            "repair_oldest_seconds",
            "How long the chunk that has waited longest for repair has done so",
            self.repair_oldest_seconds.clone(),
        );
        for (name, help, histogram) in [
            (
                "audit_plan_seconds",
                "Time to plan a node's round",
                &self.audit_plan_seconds,
            ),
            (
                "audit_read_seconds",
                "Time to look up the replicas of a message",
                &self.audit_read_seconds,
            ),
            (
                "audit_write_seconds",
                "Time to write down what came of a message",
                &self.audit_write_seconds,
            ),
        ] {
            r.register(name, help, histogram.clone());
        }
        for (name, help, counter) in [
            ("audits_passed", "Replicas that passed", &self.audits_passed),
            (
                "audits_failed",
                "Replicas that failed and were demoted",
                &self.audits_failed,
            ),
            (
                "audits_missed",
                "Replicas for which no answer came in time",
                &self.audits_missed,
            ),
            (
                "audit_errors",
                "Audits of a node that were given up",
                &self.audit_errors,
            ),
            (
                "fleet_alarms",
                "Times that much of the fleet failed at once",
                &self.fleet_alarms,
            ),
            (
                "repaired_replicas",
                "Replicas that repair has added",
                &self.repaired_replicas,
            ),
            (
                "repaired_bytes",
                "Bytes that repair has stored",
                &self.repaired_bytes,
            ),
            (
                "removed_replicas",
                "Replicas that were too many, on nodes that leave, or lost, and are no more",
                &self.removed_replicas,
            ),
            (
                "repairs_failed",
                "Attempts to repair a chunk that brought too few copies",
                &self.repairs_failed,
            ),
            (
                "reconciled_nodes",
                "Times that a node was compared with the database",
                &self.reconciled_nodes,
            ),
            (
                "reconciles_held_back",
                "Comparisons about which nothing was done because they found too much",
                &self.reconciles_held_back,
            ),
            (
                "unknown_blobs",
                "Blobs that nothing named and that went to their node's trash",
                &self.unknown_blobs,
            ),
            (
                "missing_blobs",
                "Replicas that were challenged because their node did not list them",
                &self.missing_blobs,
            ),
            (
                "unreadable_locators",
                "Blobs that nothing named and that no master key knows",
                &self.unreadable_locators,
            ),
        ] {
            r.register(name, help, counter.clone());
        }
        r.register(
            "restore_mode",
            "1 while the database was restored and its replicas are rebuilt from the nodes",
            self.restore_mode.clone(),
        );
        r.register(
            "restored_replicas",
            "Replicas that were found on nodes after a restore of the database",
            self.restored_replicas.clone(),
        );
        self
    }

    /// Everything, as text. Handshakes are counted where they happen and taken over here.
    pub fn encode(&self, handshakes: &Handshakes) -> Result<String, std::fmt::Error> {
        for channel in Channel::ALL {
            let labels = ChannelLabels {
                channel: channel.name(),
            };
            let counter = self.peer_handshakes.get_or_create(&labels);
            let count = handshakes.count(channel);
            counter.inner().store(count, Ordering::Relaxed);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use kit::JobState;

    use super::*;

    #[test]
    fn steps_are_counted_once_by_readers_at_the_same_time() {
        let metrics = Metrics::new();
        let status = |runs| JobStatus {
            name: "repair",
            state: JobState::Idle,
            waits_for: None,
            every_ms: 1000,
            runs,
            failures: runs,
            started_at: None,
            ended_at: None,
            duration_ms: None,
            last_error: None,
            backlog: None,
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (1..=1000).for_each(|runs| metrics.note_jobs(&[status(runs)])));
            }
        });
        let labels = JobLabels { job: "repair" };
        assert_eq!(metrics.job_runs.get_or_create(&labels).get(), 1000);
        assert_eq!(metrics.job_failures.get_or_create(&labels).get(), 1000);
        assert_eq!(metrics.worker_failures.get(), 1000);
    }
}
