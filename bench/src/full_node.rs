//! `bench node`: a node that holds a million small blobs beside one that holds none, as their coordinator sees
//! them: this program takes the coordinator's place and asks both in turn.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use coordinator::database::Pool;
use coordinator::keys;
use futures::{StreamExt, TryStreamExt};
use kit::{Clock, Entropy, unix_ms};
use local_cluster::wait::wait_for;
use local_cluster::{Member, Overrides, TemporaryCluster, UpOptions};
use network::{InboundRequest, NetworkHandle};
use proto::{
    Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, Locator, MicroCredits, PeerId, RequestId,
    Retrieve, RetrieveAnswer, RetrieveRequest, Store, StoreAnswer, StoreRequest, protocols,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use sqlx::PgPool;

use crate::reconcile::fill;
use crate::report::{Figure, Spread, beside};
use crate::store_node::{Latency, blob};
use crate::{narrate, peer};

const MIB: f64 = 1024.0 * 1024.0;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Of each kind of work.
const ALONE: u64 = 500;
const CROWD: u64 = 3000;
const AT_ONCE: usize = 16;
/// Seeds of blobs that are stored while measuring; those of one run and node behind each other.
const NEW: u64 = u64::MAX / 2;
const PER_RUN: u64 = ALONE + CROWD;

#[derive(Debug, Clone, Args)]
pub(crate) struct NodeBench {
    /// How many blobs the full node holds
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    blobs: u64,
    /// Bytes of a blob
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// How often; medians are shown
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct NodeReport {
    blobs: u64,
    size: usize,
    runs: u64,
    figures: Vec<Figure>,
}

/// Of one node in one run.
struct Observed {
    ready_seconds: f64,
    most_bytes: u64,
    store_alone: Latency,
    store_crowd: Latency,
    read_alone: Latency,
    read_crowd: Latency,
}

/// The empty node, and the full one, by their numbers.
const NODES: [usize; 2] = [2, 1];

impl NodeBench {
    pub(crate) async fn run(&self) -> Result<NodeReport> {
        ensure!(self.runs > 0 && self.blobs > 0, "nothing is to be measured");
        narrate("Starting a local cluster.");
        let overrides: Overrides = "[node.log]\nfilter = \"warn\"".parse()?;
        let mut cluster = TemporaryCluster::start(UpOptions {
            nodes: Some(3),
            overrides: Some(overrides),
            ..UpOptions::default()
        })
        .await?;
        cluster.stop(Member::Node(1)).await?;
        narrate(&format!("Storing {} blobs.", self.blobs));
        fill(&cluster.data_dir(1), self.blobs, self.size).await?;
        cluster.start(Member::Node(1)).await?;
        let mut ready = [Vec::new(), Vec::new()];
        for _ in 0..self.runs {
            for (place, number) in NODES.into_iter().enumerate() {
                cluster.stop(Member::Node(number)).await?;
                let began = Instant::now();
                cluster.start(Member::Node(number)).await?;
                ready[place].push(began.elapsed().as_secs_f64());
            }
        }
        let coordinator = self.replace_coordinator(&mut cluster).await?;
        narrate("Measuring.");
        let mut observed = [Vec::new(), Vec::new()];
        for run in 0..self.runs {
            for (place, number) in NODES.into_iter().enumerate() {
                let ready_seconds = ready[place][run as usize];
                let held = if place == 0 { 0 } else { self.blobs };
                let seen = self.observe(&cluster, &coordinator, number, held, run);
                observed[place].push(Observed {
                    ready_seconds,
                    ..seen.await?
                });
            }
        }
        coordinator.shutdown().await;
        Ok(NodeReport {
            blobs: self.blobs,
            size: self.size,
            runs: self.runs,
            figures: figures(&observed),
        })
    }

    /// Stops the coordinator and connects to the nodes with its key.
    async fn replace_coordinator(&self, cluster: &mut TemporaryCluster) -> Result<NetworkHandle> {
        let config = cluster.config_file(Member::Coordinator(1));
        let keys_dir = config
            .parent()
            .map_or(Path::new(""), |dir| dir)
            .join("keys");
        let pool = PgPool::connect(&cluster.record().postgres.url()).await?;
        let pool = Pool::new(pool);
        let keys = keys::open(&keys_dir, &pool, &mut Entropy::system().rng()).await?;
        pool.close().await;
        cluster.stop(Member::Coordinator(1)).await?;
        let config = peer::coordinator(keys.identity.clone());
        let mut network = network::start(config).await?;
        tokio::spawn(async move { while network.events.recv().await.is_some() {} });
        tokio::spawn(async move {
            while let Some(request) = network.requests.recv().await {
                greet(request).await;
            }
        });
        for number in NODES {
            let (peer, addrs) = address(cluster, number)?;
            network.handle.dial(peer, addrs).await;
            let connected = wait_for("a connection to a node", TIMEOUT, async || {
                let (blob_id, _) = blob(NEW - 1, self.size);
                let request = RetrieveRequest {
                    blob_id,
                    request_id: RequestId::NONE,
                };
                let answer = network.handle.call::<Retrieve>(peer, request).await;
                answer.ok()
            });
            connected.await?;
        }
        Ok(network.handle)
    }

    async fn observe(
        &self,
        cluster: &TemporaryCluster,
        coordinator: &NetworkHandle,
        number: usize,
        held: u64,
        run: u64,
    ) -> Result<Observed> {
        let (peer, _) = address(cluster, number)?;
        let asked = Asked {
            coordinator,
            peer,
            size: self.size,
        };
        let first = NEW + run * PER_RUN;
        let (alone, crowd) = (first..first + ALONE, first + ALONE..first + PER_RUN);
        let store_alone = asked.store(alone.clone(), 1).await?;
        let store_crowd = asked.store(crowd.clone(), AT_ONCE).await?;
        // An empty node has what was stored just now, a full one all that it holds.
        let mut random = StdRng::seed_from_u64(run);
        let mut any = || match held {
            0 => random.random_range(first..first + PER_RUN),
            held => random.random_range(0..held),
        };
        let chosen: Vec<u64> = (0..PER_RUN).map(|_| any()).collect();
        let (alone, crowd) = chosen.split_at(ALONE as usize);
        let process = cluster.process(Member::Node(number))?;
        let process = process.context("the node has ended")?;
        Ok(Observed {
            ready_seconds: 0.0,
            store_alone,
            store_crowd,
            read_alone: asked.read(alone, 1).await?,
            read_crowd: asked.read(crowd, AT_ONCE).await?,
            most_bytes: process
                .peak_memory_bytes()
                .context("/proc tells no memory")?,
        })
    }
}

fn address(cluster: &TemporaryCluster, number: usize) -> Result<(PeerId, Vec<network::Multiaddr>)> {
    let nodes = cluster.status()?.nodes;
    let node = nodes.get(number - 1).context("no such node")?;
    let peer = node
        .peer_id
        .as_ref()
        .context("a node that was never ready")?;
    let addrs = node.listen_addrs.iter().map(|addr| addr.parse());
    Ok((peer.parse()?, addrs.collect::<Result<_, _>>()?))
}

/// A node serves no coordinator that has not answered its greeting, and leaves one that does not answer its heartbeats.
async fn greet(request: InboundRequest) {
    match request.protocol {
        protocols::HELLO => {
            let welcome = HelloAnswer {
                rejection: None,
                network_serial: 0,
                hang_up: false,
            };
            request.respond::<Hello>(welcome).await;
        }
        protocols::HEARTBEAT => {
            let heard = HeartbeatAnswer {
                earned: MicroCredits::ZERO,
                server_time_ms: unix_ms(Clock::system().now()),
                state: "active".to_owned(),
                state_reason: String::new(),
                network_serial: 0,
                last_ledger_day: None,
            };
            request.respond::<Heartbeat>(heard).await;
        }
        _ => {}
    }
}

struct Asked<'a> {
    coordinator: &'a NetworkHandle,
    peer: PeerId,
    size: usize,
}

impl Asked<'_> {
    async fn store(&self, seeds: std::ops::Range<u64>, at_once: usize) -> Result<Latency> {
        let store = |seed| async move {
            let (blob_id, data) = blob(seed, self.size);
            let request = StoreRequest {
                blob_id,
                locator: Locator::from_bytes([0; Locator::LEN]),
                request_id: RequestId::NONE,
                data,
            };
            let began = Instant::now();
            match self.coordinator.call::<Store>(self.peer, request).await? {
                StoreAnswer::Stored(_) => Ok(began.elapsed().as_secs_f64() * 1000.0),
                StoreAnswer::Refused(refusal) => bail!("a node refuses a blob: {refusal}"),
            }
        };
        let stores = futures::stream::iter(seeds).map(store);
        Latency::of(stores.buffer_unordered(at_once).try_collect().await?)
    }

    async fn read(&self, seeds: &[u64], at_once: usize) -> Result<Latency> {
        let read = |seed| async move {
            let (blob_id, data) = blob(seed, self.size);
            let request = RetrieveRequest {
                blob_id,
                request_id: RequestId::NONE,
            };
            let began = Instant::now();
            match self
                .coordinator
                .call::<Retrieve>(self.peer, request)
                .await?
            {
                RetrieveAnswer::Found(found) if found == data => {
                    Ok(began.elapsed().as_secs_f64() * 1000.0)
                }
                other => bail!("blob {seed} is {other:?}"),
            }
        };
        let reads = futures::stream::iter(seeds.iter().copied()).map(read);
        Latency::of(reads.buffer_unordered(at_once).try_collect().await?)
    }
}

type Look = fn(&Observed) -> f64;

fn figures(observed: &[Vec<Observed>; 2]) -> Vec<Figure> {
    let all: [(&str, &str, Look); 6] = [
        ("start until ready", "s", |seen| seen.ready_seconds),
        ("most memory", "MiB", |seen| seen.most_bytes as f64 / MIB),
        ("store, one at a time", "ms", |seen| {
            seen.store_alone.median_ms
        }),
        ("store, 16 at once", "ms", |seen| seen.store_crowd.median_ms),
        ("read, one at a time", "ms", |seen| {
            seen.read_alone.median_ms
        }),
        ("read, 16 at once", "ms", |seen| seen.read_crowd.median_ms),
    ];
    let figure = |(what, unit, look): (&'static str, &'static str, Look)| Figure {
        what,
        unit,
        empty: Spread::of(observed[0].iter().map(look)),
        full: Spread::of(observed[1].iter().map(look)),
    };
    all.into_iter().map(figure).collect()
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            blobs, size, runs, ..
        } = self;
        writeln!(
            f,
            "A node that holds {blobs} blobs of {size} bytes beside an empty one, medians of {runs} runs\n"
        )?;
        writeln!(f, "{}", beside(&self.figures))
    }
}
