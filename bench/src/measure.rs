//! What a piece of work costs: time, and the processes' CPU time and memory as `/proc` tells.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use local_cluster::process::ProcessId;

/// Processes that are told of together, such as all nodes.
pub(crate) type Group = &'static str;

/// The processes that take part in a measurement.
#[derive(Debug)]
pub(crate) struct Meter {
    groups: BTreeMap<Group, Vec<ProcessId>>,
    this: ProcessId,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub seconds: f64,
    /// CPU seconds of each group.
    pub cpu: BTreeMap<Group, f64>,
}

/// The name of the group of this process.
pub(crate) const CLIENT: Group = "client";

impl Meter {
    pub(crate) fn new(groups: impl IntoIterator<Item = (Group, Vec<ProcessId>)>) -> Result<Self> {
        Ok(Self {
            groups: groups.into_iter().collect(),
            this: ProcessId::of(std::process::id()).context("cannot read /proc")?,
        })
    }

    pub(crate) async fn measure(&self, work: impl Future<Output = Result<()>>) -> Result<Sample> {
        let before = self.cpu_seconds();
        let started = Instant::now();
        work.await?;
        let seconds = started.elapsed().as_secs_f64();
        let mut cpu = self.cpu_seconds();
        for (group, seconds) in &mut cpu {
            *seconds -= before.get(group).copied().unwrap_or_default();
        }
        Ok(Sample { seconds, cpu })
    }

    /// The greatest peak of resident memory among each group's processes, in bytes.
    pub(crate) fn peak_memory(&self) -> BTreeMap<Group, u64> {
        self.families()
            .map(|(group, family)| {
                let peaks = family.iter().filter_map(|p| p.peak_memory_bytes());
                (group, peaks.max().unwrap_or_default())
            })
            .collect()
    }

    fn cpu_seconds(&self) -> BTreeMap<Group, f64> {
        self.families()
            .map(|(group, family)| (group, family.iter().filter_map(|p| p.cpu_seconds()).sum()))
            .collect()
    }

    /// Postgres works in children. Everything measured is a child of this process, which therefore
    /// counts without them.
    fn families(&self) -> impl Iterator<Item = (Group, Vec<ProcessId>)> {
        let groups = self.groups.iter().map(|(group, processes)| {
            let family = processes.iter().flat_map(|p| p.with_descendants());
            (*group, family.collect())
        });
        groups.chain([(CLIENT, vec![self.this])])
    }
}
