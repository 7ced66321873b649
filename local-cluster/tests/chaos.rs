//! The fault laboratory, for a short while. `scripts/bench chaos` runs it for longer.

#![cfg(feature = "bench")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use local_cluster::chaos::{Chaos, Report};

/// A seed that once failed stays here, with what it found.
const SEEDS: [u64; 1] = [1];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_whatever_befalls_two_of_five_nodes() {
    let mut report = Report {
        nodes: 5,
        seconds: 16,
        ..Report::default()
    };
    for seed in SEEDS {
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-seed-{seed}"));
        let chaos = Chaos {
            seed,
            nodes: report.nodes,
            length: Duration::from_secs(report.seconds),
            round: Duration::from_secs(8),
            rot: true,
            fsync: false,
            logs: Some(logs),
        };
        let run = Box::pin(chaos.run(&|line| eprintln!("{line}"))).await;
        report.runs.push(run.expect("a run of chaos"));
    }
    eprintln!("{report}");
    assert!(
        report.passed(),
        "see above; the logs are kept in the target directory"
    );
    let run = &report.runs[0];
    assert!(run.files_checked > 0 && run.reads.requests > 0 && !run.faults.is_empty());
}
