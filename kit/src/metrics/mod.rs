//! Counters and gauges in the format of Prometheus, and what stands beside those of every program: the process itself
//! and which build it is.
//!
//! What is registered is remembered by name and purpose, so that a test can hold dashboards, alerts and the reference
//! against it. The exposition does not tell: a family without a value is left out of it.

mod process;

use std::fmt::{self, Debug, Write};
use std::hash::Hash;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

/// Of the text that [`Metrics::encode`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a program measures, for whoever reads it.
pub struct Metrics {
    registry: Registry,
    prefix: &'static str,
    described: Vec<Described>,
}

/// A metric as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// As in a query; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    pub kind: &'static str,
    pub help: String,
}

impl Metrics {
    /// `prefix` comes before all names; `version` is the program's.
    pub fn new(prefix: &'static str, version: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(prefix),
            prefix,
            described: Vec::new(),
        };
        let build = Info::new([("version", version)]);
        metrics.note("build", "Which build runs", MetricType::Info);
        metrics
            .registry
            .register("build", "Which build runs", build);
        for (name, help, kind) in process::DESCRIBED {
            metrics.note(name, help, kind);
        }
        (metrics.registry).register_collector(Box::new(process::Process));
        metrics
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
        let buckets = Doubling { shortest, buckets };
        self.registered(name, help, buckets.new_metric())
    }

    /// As [`Self::seconds`], for each value of the labels.
    pub fn seconds_of<L>(
        &mut self,
        name: &str,
        help: &str,
        buckets: Doubling,
    ) -> Family<L, Histogram, Doubling>
    where
        L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static,
    {
        self.registered(name, help, Family::new_with_constructor(buckets))
    }

    fn registered<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.note(name, help, metric.metric_type());
        self.registry.register(name, help, metric.clone());
        metric
    }

    fn note(&mut self, name: &str, help: &str, kind: MetricType) {
        let (kind, suffix) = match kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            _ => ("unknown", ""),
        };
        self.described.push(Described {
            name: format!("{}_{name}{suffix}", self.prefix),
            kind,
            help: help.to_owned(),
        });
    }

    /// What is registered, by name.
    pub fn described(&self) -> Vec<Described> {
        let mut described = self.described.clone();
        described.sort_unstable();
        described
    }

    /// The same as rows of a table of Markdown.
    pub fn reference(&self) -> String {
        let mut rows = String::from("| metric | kind | what it tells |\n|---|---|---|\n");
        for metric in self.described() {
            let Described { name, kind, help } = metric;
            let _ = writeln!(rows, "| `{name}` | {kind} | {help} |"); // a String takes everything
        }
        rows
    }

    /// Everything, as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Buckets of times: the first ends at `shortest`, in seconds, each further one at twice the time of the one before.
#[derive(Debug, Clone, Copy)]
pub struct Doubling {
    pub shortest: f64,
    pub buckets: u16,
}

impl MetricConstructor<Histogram> for Doubling {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.shortest, 2.0, self.buckets))
    }
}

/// Takes over what is counted elsewhere, however many do so at the same time.
pub fn raise_to(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

/// Sets a gauge to what may be more than it can show.
pub fn show(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_known_by_the_names_of_queries() {
        let mut metrics = Metrics::new("fsn_test", "1.2.3");
        metrics.counter("requests", "Requests");
        metrics
            .seconds("wait_seconds", "Waits", 0.1, 3)
            .observe(1.0);
        metrics.family::<[(&str, &str); 1], Gauge>("queue", "By kind");
        let described = metrics.described();
        let names: Vec<&str> = described.iter().map(|one| one.name.as_str()).collect();
        for name in [
            "fsn_test_build_info",
            "fsn_test_requests_total",
            "fsn_test_wait_seconds",
            "fsn_test_queue",
            "fsn_test_process_cpu_seconds_total",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(
            metrics
                .reference()
                .contains("| `fsn_test_queue` | gauge | By kind |")
        );
        // Each that has a value is in the text by that name.
        let text = metrics.encode().unwrap();
        assert!(
            text.contains(r#"fsn_test_build_info{version="1.2.3"} 1"#),
            "{text}"
        );
        assert!(text.contains("fsn_test_wait_seconds_count 1"), "{text}");
        assert!(text.contains("fsn_test_requests_total 0"), "{text}");
        assert!(!text.contains("fsn_test_queue{"), "{text}");
    }
}
