//! `bench network`: the peer layer alone, with its policy: what an idle peer costs, how fast connections
//! stand, how soon a dead peer is noticed, how a fleet comes back, what the policy costs a transfer.
//!
//! The coordinator's side runs in this process; peers run in processes of their own, many in one where
//! they only have to be there.

mod bulk;
mod faults;
mod idle;
mod set_up;
mod stand_in;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};

use crate::narrate;

pub(crate) use self::stand_in::{NetworkPeers, stay_with};

#[derive(Debug, Args)]
pub(crate) struct NetworkBench {
    /// Peers that come back after a restart
    #[arg(long, default_value_t = 200)]
    returning: usize,
    /// Peers that idle
    #[arg(long, default_value_t = 1000)]
    idle: usize,
    /// How long the idle ones are watched, in seconds
    #[arg(long, default_value_t = 30)]
    watch: u64,
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Idle,
    SetUp,
    Faults,
    Bulk,
}

/// A row of the report.
struct Line {
    what: &'static str,
    limit: &'static str,
    reached: String,
    good: bool,
}

impl NetworkBench {
    pub(crate) async fn run(self) -> Result<()> {
        let mut lines = Vec::new();
        let mut note = |line: Line| {
            narrate(&format!("{}: {}", line.what, line.reached));
            lines.push(line);
        };
        let wanted = |part| self.only.is_none_or(|only| only == part);
        // First, in a process that has done nothing else: memory once freed is not given back.
        if wanted(Part::Idle) {
            let watch = Duration::from_secs(self.watch);
            idle::cost(self.idle, watch, &mut note).await?;
            idle::traffic(watch, &mut note).await?;
        }
        if wanted(Part::SetUp) {
            set_up::measure(&mut note).await?;
        }
        if wanted(Part::Faults) {
            faults::noticed(&mut note).await?;
            faults::return_of_the_fleet(self.returning, &mut note).await?;
        }
        if wanted(Part::Bulk) {
            bulk::beside_the_limit(&mut note).await?;
        }
        print(&lines);
        Ok(())
    }
}

fn print(lines: &[Line]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "must be", "reached", ""]);
    for line in lines {
        let verdict = if line.good { "" } else { "MISSED" };
        table.add_row([line.what, line.limit, &line.reached, verdict]);
    }
    println!("{table}");
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
