//! `bench store`: a node's store with a million small blobs beside an empty one.
//!
//! Each store is opened in a process of its own ([`crate::store_node`]), so that the time until it is
//! ready and its memory are its own. Empty and full take turns, since machines have their moods.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use blobstore::{LayoutKind, Store, StoreOptions};
use bytesize::ByteSize;
use clap::Args;
use futures::StreamExt;
use local_cluster::{Programs, TemporaryDir};
use proto::Locator;

use crate::layout::Kind;
use crate::narrate;
use crate::report::{Figure, Spread, beside};
use crate::store_node::{Observed, blob};

const UNDER_WAY: usize = 1024;
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Clone, Args)]
pub(crate) struct StoreBench {
    /// How many blobs the full store holds
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    blobs: u64,
    /// Bytes of a blob
    #[arg(long, default_value = "1KiB")]
    size: ByteSize,
    #[arg(long, value_enum, default_value_t = Kind::Segments)]
    layout: Kind,
    /// How often; medians are shown
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    /// Keep the full store in this directory, and take it from there when it is there already
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

impl StoreBench {
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(self.runs > 0 && self.blobs > 0, "nothing is to be measured");
        let scratch = TemporaryDir::new(&Programs::beside_this_one()?.local_cluster)?;
        let full = match &self.dir {
            Some(dir) => dir.clone(),
            None => scratch.path().join("full"),
        };
        self.fill(&full).await?;
        let mut observed = [Vec::new(), Vec::new()];
        for run in 1..=self.runs {
            narrate(&format!("Run {run} of {}.", self.runs));
            let empty = scratch.path().join(format!("empty-{run}"));
            observed[0].push(self.observe(&empty, 0, run)?);
            observed[1].push(self.observe(&full, self.blobs, run)?);
            std::fs::remove_dir_all(empty)?;
        }
        let figures = figures(&observed);
        match self.json {
            true => kit::output::print_json(&figures)?,
            false => self.print(&figures),
        }
        Ok(())
    }

    /// Through the store itself, as fast as it takes them.
    async fn fill(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let size = self.size.as_u64() as usize;
        let options = StoreOptions::new(self.layout.into(), u64::MAX / 4);
        let store = Store::open(dir, options, kit::Clock::system())?;
        let held = store.counts().live.blobs;
        let missing = if held >= self.blobs { 0 } else { self.blobs };
        if missing > 0 {
            narrate(&format!("Storing {missing} blobs of {}.", self.size));
        }
        let began = Instant::now();
        let mut stores = futures::stream::iter(0..missing)
            .map(|seed| {
                let store = store.clone();
                async move {
                    let (id, data) = blob(seed, size);
                    store
                        .put(id, Locator::from_bytes([0; Locator::LEN]), data)
                        .await
                }
            })
            .buffer_unordered(UNDER_WAY);
        while let Some(stored) = stores.next().await {
            stored?;
        }
        drop(stores);
        store.close().await;
        if missing > 0 {
            let rate = missing as f64 / began.elapsed().as_secs_f64();
            narrate(&format!("{rate:.0} blobs a second."));
        }
        Ok(())
    }

    fn observe(&self, dir: &Path, held: u64, run: usize) -> Result<Observed> {
        let began = Instant::now();
        let layout: LayoutKind = self.layout.into();
        let mut child = Command::new(std::env::current_exe()?)
            .arg("store-node")
            .arg("--dir")
            .arg(dir)
            .args(["--layout", &layout.to_string()])
            .args(["--held", &held.to_string()])
            .args(["--size", &self.size.as_u64().to_string()])
            .args(["--run", &run.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a store")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let ready = lines.next().context("the store has ended early")??;
        let ready_seconds = began.elapsed().as_secs_f64();
        ensure!(ready == "ready", "the store says {ready:?}");
        let report = lines.next().context("the store has ended early")??;
        let status = child.wait()?;
        ensure!(status.success(), "the store has ended with {status}");
        let mut observed: Observed = serde_json::from_str(&report)?;
        observed.ready_seconds = ready_seconds;
        Ok(observed)
    }

    fn print(&self, figures: &[Figure]) {
        let Self {
            blobs, size, runs, ..
        } = self;
        let layout: LayoutKind = self.layout.into();
        println!("{blobs} blobs of {size} in {layout}, medians of {runs} runs\n");
        println!("{}", beside(figures));
    }
}

type Look = fn(&Observed) -> f64;

fn figures(observed: &[Vec<Observed>; 2]) -> Vec<Figure> {
    let all: [(&str, &str, Look); 9] = [
        ("start until ready", "s", |seen| seen.ready_seconds),
        ("memory when ready", "MiB", |seen| {
            seen.ready_bytes as f64 / MIB
        }),
        ("most memory", "MiB", |seen| seen.most_bytes as f64 / MIB),
        ("store, one at a time", "ms", |seen| {
            seen.store_alone.median_ms
        }),
        ("store, 16 at once", "ms", |seen| seen.store_crowd.median_ms),
        ("store, 16 at once, p99", "ms", |seen| {
            seen.store_crowd.p99_ms
        }),
        ("read, one at a time", "ms", |seen| {
            seen.read_alone.median_ms
        }),
        ("read, 16 at once", "ms", |seen| seen.read_crowd.median_ms),
        ("read, 16 at once, p99", "ms", |seen| seen.read_crowd.p99_ms),
    ];
    let figure = |(what, unit, look): (&'static str, &'static str, Look)| Figure {
        what,
        unit,
        empty: Spread::of(observed[0].iter().map(look)),
        full: Spread::of(observed[1].iter().map(look)),
    };
    all.into_iter().map(figure).collect()
}
