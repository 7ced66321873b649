//! Counters and gauges, in the format of Prometheus. Each concern registers its own, in its `metrics.rs`, with
//! [`kit::metrics`]; here is what stands beside them all: requests, what the background jobs say of themselves, and what
//! all of them share.

use kit::JobStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::database::Pool;
pub use kit::metrics::Metrics;
use kit::metrics::{Doubling, raise_to, show};
use limits::memory::MemoryBudget;

/// What all names of metrics begin with.
pub const PREFIX: &str = "fsn_coordinator";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The route's template, not the path: a bounded set.
    pub route: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub method: &'static str,
    pub route: String,
}

/// What the API counts.
pub struct HttpMetrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Family<RouteLabels, Histogram, Doubling>,
}

impl HttpMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            requests: metrics.family("http_requests", "HTTP requests answered"),
            request_seconds: metrics.seconds_of(
                "http_request_seconds",
                "Time to the head of the answer, by method and route",
                Doubling {
                    shortest: 0.002,
                    buckets: 14,
                },
            ),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

/// What the background jobs do.
pub struct JobMetrics {
    failures_of_all: Counter,
    runs: Family<JobLabels, Counter>,
    failures: Family<JobLabels, Counter>,
    backlog: Family<JobLabels, Gauge>,
}

impl JobMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            failures_of_all: metrics
                .counter("worker_failures", "Steps of background workers that failed"),
            runs: metrics.family("job_runs", "Steps of background jobs"),
            failures: metrics.family("job_failures", "Steps of background jobs that failed"),
            backlog: metrics.family("job_backlog", "What waits for a background job"),
        }
    }

    /// Called when somebody reads the metrics.
    pub fn measure(&self, jobs: &[JobStatus]) {
        let failures: u64 = jobs.iter().map(|job| job.failures).sum();
        raise_to(&self.failures_of_all, failures);
        for job in jobs {
            let labels = JobLabels { job: job.name };
            if let Some(backlog) = job.backlog {
                show(&self.backlog.get_or_create(&labels), backlog);
            }
            raise_to(&self.failures.get_or_create(&labels), job.failures);
            raise_to(&self.runs.get_or_create(&labels), job.runs);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    of: &'static str,
}

/// What requests and background work share: connections to the database, and memory for files on their way.
pub struct ShareMetrics {
    connections: Family<ConnectionLabels, Gauge>,
    most_connections: Gauge,
    waiting_for_connection: Gauge,
    budget: Family<BudgetLabels, Gauge>,
    used: Family<BudgetLabels, Gauge>,
    waiting: Family<BudgetLabels, Gauge>,
}

impl ShareMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            connections: metrics.family(
                "database_connections",
                "Connections to the database that are open, by state: busy, idle",
            ),
            most_connections: metrics.gauge(
                "database_connections_max",
                "Connections to the database that may be open",
            ),
            waiting_for_connection: metrics.gauge(
                "database_waiting",
                "Who waits for a connection to the database",
            ),
            budget: metrics.family(
                "memory_budget_bytes",
                "Memory that files on their way may take: uploads, sealed copies, downloads",
            ),
            used: metrics.family("memory_used_bytes", "Memory that files on their way have"),
            waiting: metrics.family("memory_waiting", "Transfers that wait for memory"),
        }
    }

    /// Called when somebody reads the metrics.
    pub fn measure<'a>(
        &self,
        db: &Pool,
        budgets: impl IntoIterator<Item = (&'static str, &'a MemoryBudget)>,
    ) {
        let usage = db.usage();
        let connections = [("busy", usage.busy), ("idle", usage.idle)];
        for (state, count) in connections {
            let gauge = self.connections.get_or_create(&ConnectionLabels { state });
            show(&gauge, count);
        }
        show(&self.most_connections, usage.most);
        show(&self.waiting_for_connection, usage.waiting);
        for (of, budget) in budgets {
            let (labels, usage) = (BudgetLabels { of }, budget.usage());
            show(&self.budget.get_or_create(&labels), usage.total_bytes);
            show(&self.used.get_or_create(&labels), usage.used_bytes);
            show(&self.waiting.get_or_create(&labels), usage.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use kit::JobState;

    use super::*;

    #[test]
    fn steps_are_counted_once_by_readers_at_the_same_time() {
        let metrics = JobMetrics::new(&mut Metrics::new(PREFIX, "0"));
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
                scope.spawn(|| (1..=1000).for_each(|runs| metrics.measure(&[status(runs)])));
            }
        });
        let labels = JobLabels { job: "repair" };
        assert_eq!(metrics.runs.get_or_create(&labels).get(), 1000);
        assert_eq!(metrics.failures.get_or_create(&labels).get(), 1000);
        assert_eq!(metrics.failures_of_all.get(), 1000);
    }
}
