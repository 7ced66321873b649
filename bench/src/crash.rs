//! `bench crash`: a node's store that is killed in the middle of its work, again and again.
//!
//! A child stores blobs and says which are acknowledged; it is killed at a moment drawn from the seed,
//! and everything is looked at. In the end the store is filled up and its start after one more kill is
//! timed.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use blobstore::{
    Read, Readers, Store, StoreOptions, attach_layout, catalogue_path, measure, verify,
};
use bytesize::ByteSize;
use clap::Args;
use futures::StreamExt;
use kit::Clock;
use local_cluster::{Programs, TemporaryDir};
use proto::Locator;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::layout::Kind;
use crate::narrate;
use crate::report::Spread;
use crate::store_node::blob;

const AT_ONCE: usize = 16;
const LOCATOR: Locator = Locator::from_bytes([0; Locator::LEN]);

#[derive(Debug, Clone, Args)]
pub(crate) struct CrashBench {
    #[arg(long, default_value_t = 50, value_name = "N")]
    rounds: u64,
    /// Blobs that each round is about to store
    #[arg(long, default_value_t = 2000, value_name = "N")]
    stores: u64,
    /// Bytes of a blob
    #[arg(long, default_value = "4KiB")]
    size: ByteSize,
    /// Blobs that the store holds when its start is timed
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    fill: u64,
    #[arg(long, value_enum, default_value_t = Kind::Segments)]
    layout: Kind,
    /// Decides when the kills come
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// A process of its own, to be killed.
#[derive(Debug, Args)]
pub(crate) struct CrashNode {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_enum)]
    layout: Kind,
    /// The seed of the first blob
    #[arg(long)]
    first: u64,
    #[arg(long)]
    count: u64,
    #[arg(long)]
    size: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct CrashReport {
    rounds: u64,
    /// Stores that were acknowledged before a kill, all of them found and right afterwards.
    acknowledged: u64,
    /// Blobs that were there without an acknowledgement: the kill came between the two.
    unacknowledged: u64,
    /// Start after a kill, in each round.
    start_seconds: Spread,
    held: u64,
    /// Start after a kill with all those blobs.
    full_start_seconds: f64,
}

impl CrashBench {
    pub(crate) async fn run(&self) -> Result<CrashReport> {
        ensure!(
            self.rounds > 0 && self.stores > 0,
            "nothing is to be measured"
        );
        let scratch = TemporaryDir::new(&Programs::beside_this_one()?.local_cluster)?;
        let dir = scratch.path().join("store");
        std::fs::create_dir_all(&dir)?;
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut starts, mut acknowledged, mut unacknowledged) = (Vec::new(), 0, 0);
        for round in 0..self.rounds {
            let first = round * self.stores;
            let kill_after = random.random_range(0..self.stores);
            let said = self.store_and_kill(&dir, first, self.stores, kill_after)?;
            let (store, seconds) = self.open(&dir)?;
            starts.push(seconds);
            self.examine(&store, &dir, &said).await?;
            acknowledged += said.len() as u64;
            let held = store.counts().live.blobs;
            ensure!(
                held >= acknowledged + unacknowledged,
                "blobs of earlier rounds are gone: {held} are held"
            );
            unacknowledged = held - acknowledged;
            store.close().await;
            if (round + 1) % 10 == 0 {
                narrate(&format!("{} kills, {held} blobs held.", round + 1));
            }
        }
        let held = acknowledged + unacknowledged;
        let more = self.fill.saturating_sub(held);
        // The one that is not acknowledged keeps the child at work until it is killed.
        self.store_and_kill(&dir, self.rounds * self.stores, more + AT_ONCE as u64, more)?;
        let (store, full_start_seconds) = self.open(&dir)?;
        let held = store.counts().live.blobs;
        store.close().await;
        Ok(CrashReport {
            rounds: self.rounds,
            acknowledged,
            unacknowledged,
            start_seconds: Spread::of(starts.into_iter()),
            held,
            full_start_seconds,
        })
    }

    /// Kills the child after so many acknowledgements; returns all that came before it died.
    fn store_and_kill(
        &self,
        dir: &Path,
        first: u64,
        count: u64,
        kill_after: u64,
    ) -> Result<Vec<u64>> {
        let kind = clap::ValueEnum::to_possible_value(&self.layout).context("a layout")?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("crash-node")
            .arg("--dir")
            .arg(dir)
            .args(["--layout", kind.get_name()])
            .args(["--first", &first.to_string()])
            .args(["--count", &count.to_string()])
            .args(["--size", &self.size.as_u64().to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a store")?;
        let said = listen(&mut child, kill_after);
        let _ = child.kill(); // whatever went wrong, it does not stay
        child.wait()?;
        said
    }

    fn open(&self, dir: &Path) -> Result<(Store, f64)> {
        let began = Instant::now();
        let options = StoreOptions::new(self.layout.into(), u64::MAX / 4);
        let store = Store::open(dir, options, Clock::system())?;
        Ok((store, began.elapsed().as_secs_f64()))
    }

    /// Every acknowledged blob is there and right; store, catalogue and disk count the same.
    async fn examine(&self, store: &Store, dir: &Path, said: &[u64]) -> Result<()> {
        for seed in said {
            let (id, data) = blob(*seed, self.size.as_u64() as usize);
            let read = store.get(id).await;
            ensure!(
                read == Read::Found(data),
                "blob {seed} was acknowledged, and is not there"
            );
        }
        let layout = attach_layout(self.layout.into(), dir);
        let readers = Readers::open(&catalogue_path(dir))?;
        let mut findings = Vec::new();
        verify(&*layout, &readers, |finding| findings.push(finding), |_| ())?;
        ensure!(findings.is_empty(), "the store is not right: {findings:?}");
        let (counts, listed, on_disk) = (store.counts(), readers.counts()?, measure(&*layout)?);
        ensure!(
            counts == listed && counts.on_disk() == on_disk,
            "the counts differ: {counts:?}, {listed:?}, on disk {on_disk:?}"
        );
        Ok(())
    }
}

/// Reads to the end: what was said before the kill was acknowledged.
fn listen(child: &mut Child, kill_after: u64) -> Result<Vec<u64>> {
    let mut said = Vec::new();
    let output = child.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let ready = lines.next().context("the store has ended early")??;
    ensure!(ready == "ready", "the store says {ready:?}");
    if kill_after == 0 {
        child.kill()?;
    }
    for line in lines {
        // The last line may be cut short.
        let Some(seed) = line?.strip_suffix('.').and_then(|seed| seed.parse().ok()) else {
            continue;
        };
        said.push(seed);
        if said.len() as u64 == kill_after {
            child.kill()?;
        }
    }
    Ok(said)
}

impl CrashNode {
    pub(crate) async fn run(self) -> Result<()> {
        let options = StoreOptions::new(self.layout.into(), u64::MAX / 4);
        let store = Store::open(&self.dir, options, Clock::system())?;
        println!("ready");
        let mut stores = futures::stream::iter(self.first..self.first + self.count)
            .map(|seed| {
                let store = store.clone();
                async move {
                    let (id, data) = blob(seed, self.size);
                    store.put(id, LOCATOR, data).await.map(|_| seed)
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut output = std::io::stdout();
        while let Some(stored) = stores.next().await {
            output.write_all(format!("{}.\n", stored?).as_bytes())?;
            output.flush()?;
        }
        // Killed, and not ended in order.
        std::future::pending().await
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rounds,
            acknowledged,
            unacknowledged,
            start_seconds: starts,
            held,
            full_start_seconds,
        } = self;
        writeln!(
            f,
            "{rounds} kills: {acknowledged} acknowledged stores, all there and right; {unacknowledged} more \
             were kept that were not acknowledged yet; counts of store, catalogue and disk agree\n\
             start after a kill: median {:.3} s, worst {:.3} s; with {held} blobs {full_start_seconds:.3} s",
            starts.median, starts.most,
        )
    }
}
