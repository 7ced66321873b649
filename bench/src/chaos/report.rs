//! What a run of chaos was and what it found: one table for all seeds, and JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::availability::Availability;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub nodes: usize,
    pub coordinators: usize,
    /// How long faults were injected, each.
    pub seconds: u64,
    pub runs: Vec<RunReport>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct RunReport {
    pub seed: u64,
    pub files_acknowledged: u64,
    pub bytes_acknowledged: u64,
    pub deletions_acknowledged: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub copies_spoilt: u64,
    pub reads: Availability,
    pub writes: Availability,
    pub heals: u64,
    /// From a heal until every chunk had all its replicas.
    pub median_heal_s: f64,
    pub longest_heal_s: f64,
    pub files_checked: u64,
    pub bytes_checked: u64,
    pub lost_files: u64,
    pub lost_bytes: u64,
    pub copies_checked: u64,
    pub copies_set_aside: u64,
    pub copies_leaving: u64,
    pub orphans: u64,
    pub violations: Vec<String>,
}

impl RunReport {
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.lost_files == 0
    }
}

impl Report {
    pub fn passed(&self) -> bool {
        self.runs.iter().all(RunReport::passed)
    }

    /// All runs as one.
    fn total(&self) -> RunReport {
        let mut total = RunReport::default();
        for run in &self.runs {
            total.files_acknowledged += run.files_acknowledged;
            total.bytes_acknowledged += run.bytes_acknowledged;
            total.deletions_acknowledged += run.deletions_acknowledged;
            for (kind, count) in &run.faults {
                *total.faults.entry(*kind).or_default() += count;
            }
            total.copies_spoilt += run.copies_spoilt;
            total.reads.add(&run.reads);
            total.writes.add(&run.writes);
            total.heals += run.heals;
            total.median_heal_s = total.median_heal_s.max(run.median_heal_s);
            total.longest_heal_s = total.longest_heal_s.max(run.longest_heal_s);
            total.files_checked += run.files_checked;
            total.bytes_checked += run.bytes_checked;
            total.lost_files += run.lost_files;
            total.lost_bytes += run.lost_bytes;
            total.copies_checked += run.copies_checked;
            total.copies_set_aside += run.copies_set_aside;
            total.copies_leaving += run.copies_leaving;
            total.orphans += run.orphans;
            total.violations.extend(run.violations.iter().cloned());
        }
        total
    }
}

type Cell = fn(&RunReport) -> String;

fn percent(found: &Availability) -> String {
    format!("{:.3}", found.share() * 100.0)
}

fn rows() -> [(&'static str, Cell); 22] {
    [
        ("files acknowledged", |r| r.files_acknowledged.to_string()),
        ("MiB acknowledged", |r| {
            format!("{:.0}", r.bytes_acknowledged as f64 / 1_048_576.0)
        }),
        ("deletions acknowledged", |r| {
            r.deletions_acknowledged.to_string()
        }),
        ("read requests", |r| r.reads.requests.to_string()),
        ("of them failed", |r| r.reads.failed.to_string()),
        ("reads available, %", |r| percent(&r.reads)),
        ("longest outage of reads, s", |r| {
            format!("{:.2}", r.reads.longest_outage_s)
        }),
        ("write requests", |r| r.writes.requests.to_string()),
        ("of them failed", |r| r.writes.failed.to_string()),
        ("writes available, %", |r| percent(&r.writes)),
        ("longest outage of writes, s", |r| {
            format!("{:.2}", r.writes.longest_outage_s)
        }),
        ("apart: requests while what they asked was down", |r| {
            (r.reads.apart + r.writes.apart).to_string()
        }),
        ("of them failed", |r| {
            (r.reads.apart_failed + r.writes.apart_failed).to_string()
        }),
        ("longest outage, that included, s", |r| {
            let longest = [r.reads, r.writes].map(|found| found.longest_outage_in_all_s);
            format!("{:.2}", longest[0].max(longest[1]))
        }),
        ("blobs spoilt", |r| r.copies_spoilt.to_string()),
        ("heals", |r| r.heals.to_string()),
        ("to full replication, median s", |r| {
            format!("{:.1}", r.median_heal_s)
        }),
        ("to full replication, longest s", |r| {
            format!("{:.1}", r.longest_heal_s)
        }),
        ("files read back at the end", |r| {
            r.files_checked.to_string()
        }),
        ("replicas compared with disk and database", |r| {
            r.copies_checked.to_string()
        }),
        ("orphans that wait for their grace", |r| {
            r.orphans.to_string()
        }),
        ("bytes lost", |r| r.lost_bytes.to_string()),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds;
        let of = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let (nodes, coordinators) = (of(self.nodes, "node"), of(self.coordinators, "coordinator"));
        writeln!(
            f,
            "{nodes}, {coordinators}, {seconds} s of faults for each seed\n"
        )?;
        let total = self.total();
        let mut columns: Vec<(String, &RunReport)> = self
            .runs
            .iter()
            .map(|run| (format!("seed {}", run.seed), run))
            .collect();
        if self.runs.len() > 1 {
            columns.push(("all (worst)".to_owned(), &total));
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let names = columns.iter().map(|(name, _)| name.clone());
        table.set_header(std::iter::once("what".to_owned()).chain(names));
        for (what, cell) in rows() {
            let cells = columns.iter().map(|(_, run)| cell(run));
            table.add_row(std::iter::once(what.to_owned()).chain(cells));
        }
        let kinds: BTreeSet<&str> = total.faults.keys().copied().collect();
        for kind in kinds {
            let count = |run: &RunReport| run.faults.get(kind).copied().unwrap_or_default();
            let cells = columns.iter().map(|(_, run)| count(run).to_string());
            table.add_row(std::iter::once(format!("fault: {kind}")).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        for run in &self.runs {
            for violation in &run.violations {
                writeln!(f, "seed {}: VIOLATED: {violation}", run.seed)?;
            }
        }
        Ok(())
    }
}
