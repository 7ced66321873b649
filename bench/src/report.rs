//! Medians, as a table and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measure::{Group, Meter, Sample};

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub nodes: usize,
    pub runs: usize,
    pub measurements: Vec<Measurement>,
    /// Greatest peak of resident memory among a group's processes, of `transfer` and of `limit`.
    pub peak_memory_bytes: BTreeMap<&'static str, BTreeMap<Group, u64>>,
    /// Speed of `transfer` upwards in proportion to that of `limit`, by size in bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratio_to_limit: BTreeMap<u64, f64>,
}

/// One kind of work on files of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    pub work: &'static str,
    pub size_bytes: u64,
    pub mib_per_second: Spread,
    /// Medians.
    pub cpu_seconds: BTreeMap<Group, f64>,
    pub cpu_seconds_total: f64,
    pub cpu_seconds_per_gib: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of no values: not a number.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let count = values.len();
        Self {
            median: (at(count.saturating_sub(1) / 2) + at(count / 2)) / 2.0,
            least: at(0),
            most: at(count.saturating_sub(1)),
        }
    }
}

impl Measurement {
    pub(crate) fn new(work: &'static str, size_bytes: u64, samples: &[Sample]) -> Self {
        let groups: BTreeSet<Group> = samples.iter().flat_map(|s| s.cpu.keys().copied()).collect();
        let of_group = |group: Group| {
            Spread::of(samples.iter().filter_map(|s| s.cpu.get(group).copied())).median
        };
        let total = Spread::of(samples.iter().map(|s| s.cpu.values().sum())).median;
        Self {
            work,
            size_bytes,
            mib_per_second: Spread::of(samples.iter().map(|s| size_bytes as f64 / MIB / s.seconds)),
            cpu_seconds: groups
                .into_iter()
                .map(|group| (group, of_group(group)))
                .collect(),
            cpu_seconds_total: total,
            cpu_seconds_per_gib: total * GIB / size_bytes as f64,
        }
    }
}

impl Report {
    pub(crate) fn add_peaks(&mut self, work: &'static str, meter: &Meter) {
        self.peak_memory_bytes.insert(work, meter.peak_memory());
    }

    /// To be called when both kinds of measurements are in.
    pub(crate) fn compare(&mut self) {
        let speed = |work: &str, size: u64| {
            let mut all = self.measurements.iter();
            let found = all.find(|m| m.work == work && m.size_bytes == size)?;
            Some(found.mib_per_second.median)
        };
        let sizes: BTreeSet<u64> = self.measurements.iter().map(|m| m.size_bytes).collect();
        self.ratio_to_limit = sizes
            .into_iter()
            .filter_map(|size| Some((size, speed("up", size)? / speed("limit", size)?)))
            .collect();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, medians of {} runs\n", self.nodes, self.runs)?;
        let groups: BTreeSet<Group> = self
            .measurements
            .iter()
            .flat_map(|m| m.cpu_seconds.keys().copied())
            .collect();
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let head = ["work", "size", "MiB/s", "least–most", "CPU s", "CPU s/GiB"];
        let columns = head.map(str::to_owned).into_iter();
        table.set_header(columns.chain(groups.iter().map(|group| format!("CPU s {group}"))));
        for m in &self.measurements {
            let speed = m.mib_per_second;
            let row = [
                m.work.to_owned(),
                ByteSize(m.size_bytes).to_string(),
                format!("{:.1}", speed.median),
                format!("{:.1}–{:.1}", speed.least, speed.most),
                format!("{:.2}", m.cpu_seconds_total),
                format!("{:.1}", m.cpu_seconds_per_gib),
            ];
            let cpu = groups.iter().map(|group| {
                let seconds = m.cpu_seconds.get(group);
                seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"))
            });
            table.add_row(row.into_iter().chain(cpu));
        }
        writeln!(f, "{table}\n")?;
        for (work, peaks) in &self.peak_memory_bytes {
            let peaks: Vec<String> = peaks
                .iter()
                .map(|(group, bytes)| format!("{group} {:.0} MiB", *bytes as f64 / MIB))
                .collect();
            writeln!(f, "peak memory, {work}: {}", peaks.join(", "))?;
        }
        for (size, ratio) in &self.ratio_to_limit {
            let percent = ratio * 100.0;
            writeln!(f, "{} up: {percent:.0} % of the limit", ByteSize(*size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_runs_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of([7.0].into_iter()).median, 7.0);
    }
}

/// What is full beside what is empty.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub what: &'static str,
    pub unit: &'static str,
    pub empty: Spread,
    pub full: Spread,
}

pub(crate) fn beside(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "empty", "full", "least–most", "full / empty"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for figure in figures {
        let (empty, full) = (figure.empty, figure.full);
        table.add_row([
            format!("{}, {}", figure.what, figure.unit),
            format!("{:.3}", empty.median),
            format!("{:.3}", full.median),
            format!("{:.3}–{:.3}", full.least, full.most),
            format!("{:.2}", full.median / empty.median),
        ]);
    }
    table
}
