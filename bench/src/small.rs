//! `bench small`: many files of one request each, at once and one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use bytesize::ByteSize;
use clap::Args;
use comfy_table::{Table, presets};
use futures::stream::{self, StreamExt, TryStreamExt};
use local_cluster::client::Session;
use local_cluster::{Overrides, TemporaryCluster, UpOptions};
use proto::FileId;
use serde::Serialize;

use crate::measure::{Group, Sample};
use crate::narrate;
use crate::report::Spread;
use crate::transfer::{CREDITS_USD, meter};

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How often; medians are shown
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    #[arg(long, value_delimiter = ',', default_values = ["4KiB", "256KiB"], value_name = "SIZE,…")]
    sizes: Vec<ByteSize>,
    /// Files of each size in each run
    #[arg(long, default_value_t = 1000, value_name = "N")]
    files: usize,
    /// Requests at one time
    #[arg(long, value_delimiter = ',', default_values = ["16", "1"], value_name = "N,…")]
    at_once: Vec<usize>,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    nodes: usize,
    runs: usize,
    measurements: Vec<Measurement>,
}

#[derive(Debug, Serialize)]
struct Measurement {
    work: &'static str,
    size_bytes: u64,
    at_once: usize,
    files_per_second: Spread,
    /// Medians over the runs.
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms_per_file: BTreeMap<Group, f64>,
}

struct Run {
    sample: Sample,
    latencies: Vec<Duration>,
}

pub(crate) async fn run(options: &Options, config: Option<&Path>) -> Result<Report> {
    ensure!(
        options.runs > 0 && options.files > 0,
        "--runs and --files must be at least 1"
    );
    ensure!(options.nodes >= 3, "three replicas need --nodes 3 or more");
    ensure!(
        options.at_once.iter().all(|n| *n > 0),
        "--at-once must be at least 1"
    );
    narrate("Starting a local cluster.");
    let cluster = TemporaryCluster::start(UpOptions {
        nodes: Some(options.nodes),
        overrides: config.map(Overrides::read).transpose()?,
        ..UpOptions::default()
    })
    .await?;
    let session = cluster.session().await?;
    session.purchase(CREDITS_USD).await?;
    let meter = meter(&cluster)?;
    upload(&session, 4096, 16, 200).await?; // connections and caches as in the middle of work

    let mut measurements = Vec::new();
    for size in &options.sizes {
        for at_once in &options.at_once {
            // One after the other says something about each, not about the sum.
            let files = if *at_once == 1 {
                options.files.min(200)
            } else {
                options.files
            };
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for run in 1..=options.runs {
                narrate(&format!(
                    "{size}, {at_once} at once, run {run} of {}",
                    options.runs
                ));
                let (mut ids, mut latencies) = (Vec::new(), Vec::new());
                let work = async {
                    (ids, latencies) = upload(&session, size.as_u64(), *at_once, files).await?;
                    Ok(())
                };
                let sample = meter.measure(work).await?;
                up.push(Run { sample, latencies });
                let mut latencies = Vec::new();
                let work = async {
                    latencies = download(&session, &ids, size.as_u64(), *at_once).await?;
                    Ok(())
                };
                let sample = meter.measure(work).await?;
                down.push(Run { sample, latencies });
                // Files stay: taking them away would keep everybody busy during the next run.
            }
            for (work, runs) in [("up", up), ("down", down)] {
                measurements.push(Measurement::new(work, size.as_u64(), *at_once, &runs));
            }
        }
    }
    Ok(Report {
        nodes: options.nodes,
        runs: options.runs,
        measurements,
    })
}

async fn upload(
    session: &Session,
    size: u64,
    at_once: usize,
    files: usize,
) -> Result<(Vec<FileId>, Vec<Duration>)> {
    let uploads = (0..files).map(|n| async move {
        let mut content = vec![0; size as usize];
        blake3::Hasher::new()
            .update(&n.to_le_bytes())
            .finalize_xof()
            .fill(&mut content);
        let started = Instant::now();
        let file = session
            .upload("small", Some(size), Bytes::from(content))
            .await;
        let file = file.context("an upload has failed")?;
        anyhow::Ok((file.file_id, started.elapsed()))
    });
    let done: Vec<_> = stream::iter(uploads)
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    Ok(done.into_iter().unzip())
}

async fn download(
    session: &Session,
    ids: &[FileId],
    size: u64,
    at_once: usize,
) -> Result<Vec<Duration>> {
    let downloads = ids.iter().map(|id| async move {
        let started = Instant::now();
        let content = session
            .download(*id)
            .await
            .context("a download has failed")?;
        ensure!(
            content.len() as u64 == size,
            "a file came back with another length"
        );
        Ok(started.elapsed())
    });
    stream::iter(downloads)
        .buffer_unordered(at_once)
        .try_collect()
        .await
}

impl Measurement {
    fn new(work: &'static str, size_bytes: u64, at_once: usize, runs: &[Run]) -> Self {
        let files = |run: &Run| run.latencies.len() as f64;
        let groups = runs.iter().flat_map(|run| run.sample.cpu.keys().copied());
        let cpu = |group: Group| {
            let of_runs = runs.iter().filter_map(|run| {
                let seconds = run.sample.cpu.get(group)?;
                Some(seconds * 1000.0 / files(run))
            });
            Spread::of(of_runs).median
        };
        let quantile = |of: f64| Spread::of(runs.iter().map(|run| quantile_ms(&run.latencies, of)));
        Self {
            work,
            size_bytes,
            at_once,
            files_per_second: Spread::of(runs.iter().map(|run| files(run) / run.sample.seconds)),
            p50_ms: quantile(0.5).median,
            p99_ms: quantile(0.99).median,
            cpu_ms_per_file: groups.map(|group| (group, cpu(group))).collect(),
        }
    }
}

fn quantile_ms(latencies: &[Duration], of: f64) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * of).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1));
    value.map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, medians of {} runs\n", self.nodes, self.runs)?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "work",
            "size",
            "at once",
            "files/s",
            "least–most",
            "p50 ms",
            "p99 ms",
            "CPU ms/file",
            "of which",
        ]);
        for m in &self.measurements {
            let speed = m.files_per_second;
            let of_which = m.cpu_ms_per_file.iter();
            let of_which: Vec<_> = of_which
                .map(|(group, ms)| format!("{group} {ms:.2}"))
                .collect();
            table.add_row([
                m.work.to_owned(),
                ByteSize(m.size_bytes).to_string(),
                m.at_once.to_string(),
                format!("{:.0}", speed.median),
                format!("{:.0}–{:.0}", speed.least, speed.most),
                format!("{:.2}", m.p50_ms),
                format!("{:.2}", m.p99_ms),
                format!("{:.2}", m.cpu_ms_per_file.values().sum::<f64>()),
                of_which.join(", "),
            ]);
        }
        writeln!(f, "{table}")
    }
}
