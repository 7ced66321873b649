//! `bench chaos`: the fault laboratory of this package, for minutes instead of seconds.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use bench::chaos::{Chaos, Report};

use crate::narrate;

#[derive(Debug, clap::Args)]
pub(crate) struct ChaosBench {
    /// What is struck when, and what is asked in which order; several are run one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1], value_name = "S,…")]
    seed: Vec<u64>,
    /// How long faults are injected for each seed; heals and checks come on top
    #[arg(long, default_value_t = 10.0, value_name = "M")]
    minutes: f64,
    /// Seconds of faults between two heals
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    round: f64,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
    /// With two, one is killed or paused and the other has to serve on; each is asked in turn
    #[arg(long, default_value_t = 1, value_name = "N")]
    coordinators: usize,
    /// Spoil no blobs on the disks
    #[arg(long)]
    without_rot: bool,
    /// Where the logs are put when something went wrong
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl ChaosBench {
    pub(crate) async fn run(&self) -> Result<Report> {
        ensure!(
            self.nodes >= 5,
            "two nodes are away at one time, and each chunk needs three: --nodes 5 or more"
        );
        ensure!(
            self.minutes > 0.0 && self.round >= 1.0,
            "--minutes must be above 0 and --round at least 1"
        );
        let length = Duration::from_secs_f64(self.minutes * 60.0);
        let mut report = Report {
            nodes: self.nodes,
            coordinators: self.coordinators,
            seconds: length.as_secs(),
            ..Report::default()
        };
        for seed in self.seed.iter().copied() {
            narrate(&format!("Seed {seed}: starting a local cluster."));
            let chaos = Chaos {
                seed,
                nodes: self.nodes,
                coordinators: self.coordinators,
                length,
                round: Duration::from_secs_f64(self.round),
                rot: !self.without_rot,
                fsync: true,
                logs: self
                    .logs
                    .as_ref()
                    .map(|dir| dir.join(format!("seed-{seed}"))),
            };
            report.runs.push(Box::pin(chaos.run(&narrate)).await?);
        }
        Ok(report)
    }
}
