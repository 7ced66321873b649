//! The fault laboratory, for a short while. `scripts/bench chaos` runs it for longer. A seed that once failed
//! stays here, with what it found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use bench::chaos::{Chaos, Report};

const SECONDS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_whatever_befalls_two_of_five_nodes() {
    run(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_lose_nothing_while_either_is_killed_paused_or_cut_off_from_a_node() {
    // Found a day that was cut off while a paused coordinator was writing what had happened in it.
    run(2, 2).await;
}

async fn run(seed: u64, coordinators: usize) {
    let logs = format!("chaos-seed-{seed}");
    let chaos = Chaos {
        seed,
        nodes: 5,
        coordinators,
        length: Duration::from_secs(SECONDS),
        round: Duration::from_secs(8),
        rot: true,
        fsync: false,
        logs: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join(logs)),
    };
    let run = Box::pin(chaos.run(&|line| eprintln!("{line}"))).await;
    let report = Report {
        nodes: chaos.nodes,
        coordinators,
        seconds: SECONDS,
        runs: vec![run.expect("a run of chaos")],
    };
    eprintln!("{report}");
    assert!(
        report.passed(),
        "see above; the logs are kept in the target directory"
    );
    let run = &report.runs[0];
    assert!(run.files_checked > 0 && run.reads.requests > 0 && !run.faults.is_empty());
}
