//! `bench limit`: the bare pipeline that every upload must pass, with nothing around it.
//!
//! A stream is cut into chunks; each is sealed three times, hashed, sent to three nodes in processes
//! of their own over the network crate's `store-chunk`, hashed there, made durable, and receipted.
//! No HTTP, no database, no catalogue, no placement: what the whole network reaches of this speed
//! tells what those cost.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use coordinator::blobs::crypto_pool::CryptoPool;
use futures::TryStreamExt;
use futures::future::try_join_all;
use local_cluster::process::ProcessId;
use local_cluster::{Programs, TemporaryDir};
use network::{Keypair, NetworkEvent, NetworkHandle, PeerId};
use proto::{
    FileId, Locator, NetworkContext, NetworkId, RequestId, Store, StoreAnswer, StoreRequest,
};
use sealing::{ChunkRef, DataKey, Sealing};
use tokio::time::timeout;

use crate::content::Content;
use crate::measure::{Meter, Sample};
use crate::report::{Measurement, Report};
use crate::{Options, narrate, peer};

const REPLICAS: usize = 3;
/// Chunks under way: enough for each of five nodes to have its 8 exchanges.
const CHUNKS_UNDER_WAY: usize = 14;
const WARM_UP: u64 = 32 * 1024 * 1024;
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);

/// The network that all nodes of a benchmark believe to be in.
pub(crate) const NETWORK_ID: NetworkId =
    NetworkId::from_bytes(*b"fsn benchmark: the bare pipeline");

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let pipeline = Pipeline::start(options.nodes).await?;
    let content = Content::random();
    let mut report = Report {
        nodes: options.nodes,
        runs: options.runs,
        ..Report::default()
    };
    for size in &options.sizes {
        let mut samples = Vec::new();
        for run in 1..=options.runs {
            narrate(&format!("{size}, run {run} of {}", options.runs));
            samples.push(pipeline.measure(&content, size.as_u64()).await?);
        }
        report
            .measurements
            .push(Measurement::new("limit", size.as_u64(), &samples));
    }
    report.add_peaks("limit", pipeline.meter());
    Ok(report)
}

/// This process, which seals and sends, and node processes, which store.
pub(crate) struct Pipeline {
    sender: Sender,
    meter: Meter,
    _nodes: Nodes,
}

impl Pipeline {
    pub(crate) async fn start(nodes: usize) -> Result<Self> {
        let keypair = Keypair::generate_ed25519();
        let mut config = peer::coordinator(keypair);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
        let mut network = network::start(config).await?;
        let addr = network.handle.listen_addrs().await;
        let addr = addr.first().context("no address to listen on")?;
        let here = format!("{addr}/p2p/{}", network.handle.local_peer_id());

        let children = Nodes::start(nodes, &here, &[])?;
        let mut peers = Vec::new();
        while peers.len() < nodes {
            let event = timeout(CONNECTED_WITHIN, network.events.recv()).await;
            match event.context("the nodes do not connect")? {
                Some(NetworkEvent::Connected { peer, .. }) => peers.push(peer),
                Some(_) => {}
                None => bail!("the peer network has stopped"),
            }
        }
        // Somebody has to read the events as long as the network runs.
        tokio::spawn(async move { while network.events.recv().await.is_some() {} });

        Self::over(network.handle, peers, children).await
    }

    /// Over connections that somebody else has made.
    pub(crate) async fn over(
        network: NetworkHandle,
        peers: Vec<PeerId>,
        nodes: Nodes,
    ) -> Result<Self> {
        let pipeline = Self {
            sender: Sender {
                network,
                peers,
                crypto: CryptoPool::new()?,
                key: Arc::new(DataKey::generate(
                    Sealing::NEWEST,
                    &mut kit::Entropy::system().rng(),
                )?),
                next: AtomicUsize::new(0),
            },
            meter: Meter::new([("nodes", nodes.processes()?)])?,
            _nodes: nodes,
        };
        pipeline.sender.send(&Content::random(), WARM_UP).await?;
        Ok(pipeline)
    }

    pub(crate) async fn measure(&self, content: &Content, size: u64) -> Result<Sample> {
        self.meter.measure(self.sender.send(content, size)).await
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

pub(crate) struct Nodes {
    children: Vec<Node>,
    /// Dropped after the nodes.
    _dir: TemporaryDir,
}

impl Nodes {
    /// They connect to the coordinator at this place by themselves.
    pub(crate) fn start(count: usize, coordinator: &str, options: &[&str]) -> Result<Self> {
        let dir = TemporaryDir::new(&Programs::beside_this_one()?.local_cluster)?;
        let program = std::env::current_exe()?;
        let node = |number: usize| -> Result<Node> {
            let mut command = Command::new(&program);
            let data = dir.path().join(format!("node-{number}"));
            command.arg("limit-node").arg("--dir").arg(data);
            command.args(["--coordinator", coordinator]).args(options);
            let child = command.stdin(Stdio::piped()).spawn();
            Ok(Node(child.context("cannot start a node")?))
        };
        Ok(Self {
            children: (1..=count).map(node).collect::<Result<_>>()?,
            _dir: dir,
        })
    }

    fn processes(&self) -> std::io::Result<Vec<ProcessId>> {
        let pids = self.children.iter().map(|node| node.0.id());
        pids.map(ProcessId::of).collect()
    }
}

/// A node process, which ends when its standard input does.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

struct Sender {
    network: NetworkHandle,
    peers: Vec<PeerId>,
    crypto: CryptoPool,
    key: Arc<DataKey>,
    /// Chunks go round the nodes.
    next: AtomicUsize,
}

impl Sender {
    async fn send(&self, content: &Content, size: u64) -> Result<()> {
        content
            .stream(size)
            .map_err(anyhow::Error::new)
            .map_ok(|chunk| self.store(chunk))
            .try_buffer_unordered(CHUNKS_UNDER_WAY)
            .try_for_each(async |()| Ok(()))
            .await
    }

    async fn store(&self, chunk: Bytes) -> Result<()> {
        let key = Arc::clone(&self.key);
        let blobs = self.crypto.run(move || seal(&key, chunk)).await??;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let stores = blobs.into_iter().enumerate().map(|(replica, request)| {
            let peer = self.peers[(first + replica) % self.peers.len()];
            self.store_on(peer, request)
        });
        try_join_all(stores).await?;
        Ok(())
    }

    async fn store_on(&self, peer: PeerId, request: StoreRequest) -> Result<()> {
        let (blob_id, length) = (request.blob_id, request.data.len() as u64);
        let context = NetworkContext {
            network_id: NETWORK_ID,
            peer_id: peer,
        };
        match self.network.call::<Store>(peer, request).await? {
            StoreAnswer::Stored(receipt) => {
                receipt.verify(context, blob_id, length)?;
                Ok(())
            }
            StoreAnswer::Refused(refusal) => Err(refusal).context("a node has refused a blob"),
        }
    }
}

/// Each replica in a buffer of its own, encrypted where it lies.
fn seal(key: &DataKey, chunk: Bytes) -> Result<Vec<StoreRequest>> {
    let (mut random, pieces) = (kit::Entropy::system().rng(), [chunk]);
    let place = ChunkRef {
        file_id: FileId::from_bytes([0; 16]),
        index: 0,
    };
    let mut replica = || {
        let blob = key.seal(place, &pieces, &mut random)?;
        Ok(StoreRequest {
            blob_id: blob.blob_id,
            locator: Locator::from_bytes([0; Locator::LEN]),
            request_id: RequestId::NONE,
            data: blob.data,
        })
    };
    (0..REPLICAS).map(|_| replica()).collect()
}
