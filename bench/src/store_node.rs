//! A process that opens a store and works with it: what `bench store` looks at.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use blobstore::{Read, Store, StoreOptions};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use proto::{BlobId, Locator};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::layout::Kind;

/// Of each kind of work.
const ALONE: u64 = 300;
const CROWD: u64 = 3000;
const AT_ONCE: usize = 16;
/// Blobs that a run stores, so that no run stores those of another.
const PER_RUN: u64 = 10 * (ALONE + CROWD);

#[derive(Debug, Args)]
pub(crate) struct StoreNode {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_enum)]
    layout: Kind,
    /// Blobs that it holds: those with the seeds below this
    #[arg(long)]
    held: u64,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    run: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// From the start of the process.
    pub ready_seconds: f64,
    pub ready_bytes: u64,
    pub most_bytes: u64,
    pub store_alone: Latency,
    pub store_crowd: Latency,
    pub read_alone: Latency,
    pub read_crowd: Latency,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub median_ms: f64,
    pub p99_ms: f64,
}

/// A blob that is like no other with another seed.
pub(crate) fn blob(seed: u64, size: usize) -> (BlobId, Bytes) {
    let mut bytes = vec![0; size.max(8)];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    (BlobId::of(&bytes), bytes.into())
}

impl StoreNode {
    pub(crate) async fn run(self) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let options = StoreOptions::new(self.layout.into(), u64::MAX / 4);
        let store = Store::open(&self.dir, options, kit::Clock::system())?;
        println!("ready");
        let ready_bytes = memory("VmRSS:")?;

        let first = u64::MAX / 2 + self.run * PER_RUN;
        let store_alone = self.store(&store, first..first + ALONE, 1).await?;
        let crowd = first + ALONE..first + ALONE + CROWD;
        let store_crowd = self.store(&store, crowd.clone(), AT_ONCE).await?;
        // An empty store has what was stored just now, a full one all that it holds.
        let mut random = StdRng::seed_from_u64(self.run);
        let mut any = || match self.held {
            0 => random.random_range(crowd.clone()),
            held => random.random_range(0..held),
        };
        let chosen: Vec<u64> = (0..ALONE + CROWD).map(|_| any()).collect();
        let (alone, crowd) = chosen.split_at(ALONE as usize);
        let observed = Observed {
            ready_seconds: 0.0, // known to who started this process
            ready_bytes,
            store_alone,
            store_crowd,
            read_alone: self.read(&store, alone, 1).await?,
            read_crowd: self.read(&store, crowd, AT_ONCE).await?,
            most_bytes: memory("VmHWM:")?,
        };
        // Every other run ends like a crash, and the next one begins after it.
        if self.run.is_multiple_of(2) {
            store.close().await;
        }
        println!("{}", serde_json::to_string(&observed)?);
        Ok(())
    }

    async fn store(
        &self,
        store: &Store,
        seeds: std::ops::Range<u64>,
        at_once: usize,
    ) -> Result<Latency> {
        let store_one = |seed| async move {
            let (id, data) = blob(seed, self.size);
            let began = Instant::now();
            let locator = Locator::from_bytes([0; Locator::LEN]);
            store.put(id, locator, data).await?;
            anyhow::Ok(began.elapsed().as_secs_f64() * 1000.0)
        };
        let stores = futures::stream::iter(seeds).map(store_one);
        Latency::of(stores.buffer_unordered(at_once).try_collect().await?)
    }

    async fn read(&self, store: &Store, seeds: &[u64], at_once: usize) -> Result<Latency> {
        let read_one = |seed: u64| async move {
            let (id, data) = blob(seed, self.size);
            let began = Instant::now();
            match store.get(id).await {
                Read::Found(found) if found == data => {}
                other => bail!("blob {seed} is {other:?}"),
            }
            Ok(began.elapsed().as_secs_f64() * 1000.0)
        };
        let reads = futures::stream::iter(seeds.iter().copied()).map(read_one);
        Latency::of(reads.buffer_unordered(at_once).try_collect().await?)
    }
}

impl Latency {
    pub(crate) fn of(mut milliseconds: Vec<f64>) -> Result<Self> {
        ensure!(!milliseconds.is_empty(), "nothing was measured");
        milliseconds.sort_by(f64::total_cmp);
        let at = |share: usize| milliseconds[(milliseconds.len() - 1) * share / 100];
        Ok(Self {
            median_ms: at(50),
            p99_ms: at(99),
        })
    }
}

/// A line of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    match line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()) {
        Some(kibibytes) => Ok(kibibytes * 1024),
        None => bail!("/proc does not tell {name}"),
    }
}
