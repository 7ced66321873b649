//! The process itself: processor time, memory, descriptors, age. Asked for when somebody reads the metrics, so that
//! nothing has to run for it. What the system does not tell is left out: beside the processor's time, all of it comes
//! from Linux's /proc.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

const CPU: (&str, &str) = ("process_cpu_seconds", "Processor time that it has taken");
const MEMORY: (&str, &str) = ("process_resident_memory_bytes", "Memory that it has");
const FDS: (&str, &str) = ("process_open_fds", "Files and sockets that it has open");
const MAX_FDS: (&str, &str) = ("process_max_fds", "Files and sockets that it may have open");
const THREADS: (&str, &str) = ("process_threads", "Threads that it has");

pub(super) const DESCRIBED: [(&str, &str, MetricType); 5] = [
    (CPU.0, CPU.1, MetricType::Counter),
    (MEMORY.0, MEMORY.1, MetricType::Gauge),
    (FDS.0, FDS.1, MetricType::Gauge),
    (MAX_FDS.0, MAX_FDS.1, MetricType::Gauge),
    (THREADS.0, THREADS.1, MetricType::Gauge),
];

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(cpu_seconds());
        let (name, help) = CPU;
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let gauges = [
            (MEMORY, field(&status, "VmRSS:").map(|kib| kib * 1024)),
            (THREADS, field(&status, "Threads:")),
            (FDS, open_files()),
            (MAX_FDS, field(&limits, "Max open files")),
        ];
        for ((name, help), value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The first number behind a name at the beginning of a line. "unlimited" is none.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Without the one by which they are counted.
fn open_files() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_system_s_files_are_found() {
        let status = "Name:\tx\nVmRSS:\t   12345 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(12345));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "VmSwap:"), None);
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(field(limits, "Max open files"), Some(1024));
        let limits = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(field(limits, "Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_open_file_is_counted_and_work_takes_time() {
        let before = open_files().unwrap();
        let held: Vec<_> = (0..50)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        // Other tests may open and close a few meanwhile.
        assert!(open_files().unwrap() >= before + 25, "{before}");
        drop(held);
        assert!(cpu_seconds() > 0.0);
    }
}
