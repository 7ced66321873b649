//! Counters and gauges, in the format of Prometheus. Each concern registers its own, in its `metrics.rs`; here is
//! what they register with, and what stands beside them all: requests, and what the background jobs say of themselves.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::Ordering;

use kit::JobStatus;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// Everything that is measured, for whoever reads it.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            registry: Registry::with_prefix("fsn_coordinator"),
        }
    }

    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.registered(name, help, Counter::default())
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.registered(name, help, Gauge::default())
    }

    /// One for each value of the labels, which must be a bounded set: all are kept for ever.
    pub fn family<L, M>(&mut self, name: &str, help: &str) -> Family<L, M>
    where
        L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static,
        M: EncodeMetric + TypedMetric + Default + Debug + Send + Sync + 'static,
    {
        self.registered(name, help, Family::default())
    }

    /// Times in seconds, in buckets that double from the `shortest`.
    pub fn seconds(&mut self, name: &str, help: &str, shortest: f64, buckets: u16) -> Histogram {
        let buckets = exponential_buckets(shortest, 2.0, buckets);
        self.registered(name, help, Histogram::new(buckets))
    }

    fn registered<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// Everything, as text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
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

/// Takes over what is counted elsewhere, however many do so at the same time.
pub(crate) fn raise_to(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The route's template, not the path: a bounded set.
    pub route: String,
    pub status: u16,
}

/// What the API counts.
pub struct HttpMetrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Histogram,
}

impl HttpMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            requests: metrics.family("http_requests", "HTTP requests answered"),
            request_seconds: metrics.seconds(
                "http_request_seconds",
                "Time to the head of the answer",
                0.001,
                16,
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
                let gauge = self.backlog.get_or_create(&labels);
                gauge.set(i64::try_from(backlog).unwrap_or(i64::MAX));
            }
            raise_to(&self.failures.get_or_create(&labels), job.failures);
            raise_to(&self.runs.get_or_create(&labels), job.runs);
        }
    }
}

#[cfg(test)]
mod tests {
    use kit::JobState;

    use super::*;

    #[test]
    fn steps_are_counted_once_by_readers_at_the_same_time() {
        let metrics = JobMetrics::new(&mut Metrics::new());
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
