//! A node that does nothing but keep blobs: hash, durable file, receipt.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use network::{InboundRequest, Keypair, NetworkConfig, NetworkEvent, Target};
use proto::{
    BlobId, NetworkContext, Protocol, Receipt, Side, SignedReceipt, Store, StoreAnswer,
    StoreRequest,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::limit::NETWORK_ID;

const REQUESTS_UNDER_WAY: usize = 16;
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct LimitNode {
    /// Where the blobs go
    #[arg(long)]
    dir: PathBuf,
    /// A multiaddr that ends in /p2p/…
    #[arg(long)]
    coordinator: String,
}

impl LimitNode {
    /// Serves until standard input ends, which it does with the benchmark.
    pub async fn run(self) -> Result<()> {
        fs::create_dir_all(self.dir.join("tmp"))?;
        let keeper = Arc::new(Keeper {
            dir: self.dir,
            keypair: Keypair::generate_ed25519(),
        });
        let coordinator: Target = self.coordinator.parse()?;
        let config = NetworkConfig::new(keeper.keypair.clone(), Side::Node);
        let mut network = network::start(config).await?;
        network
            .handle
            .dial(coordinator.peer_id, coordinator.addrs)
            .await;
        match tokio::time::timeout(CONNECTED_WITHIN, network.events.recv()).await {
            Ok(Some(NetworkEvent::Connected { .. })) => {}
            other => bail!("cannot connect to the benchmark: {other:?}"),
        }
        tokio::spawn(async move { while network.events.recv().await.is_some() {} });

        let mut end = spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
        let room = Arc::new(Semaphore::new(REQUESTS_UNDER_WAY));
        loop {
            let request = tokio::select! {
                request = network.requests.recv() => request,
                _ = &mut end => return Ok(()),
            };
            let request = request.context("the peer network has stopped")?;
            let permit = Arc::clone(&room).acquire_owned().await?;
            let keeper = Arc::clone(&keeper);
            tokio::spawn(async move {
                if let Err(error) = keeper.serve(request).await {
                    eprintln!("bench node: {error:#}");
                }
                drop(permit);
            });
        }
    }
}

struct Keeper {
    dir: PathBuf,
    keypair: Keypair,
}

impl Keeper {
    async fn serve(self: Arc<Self>, mut request: InboundRequest) -> Result<()> {
        if request.protocol != Protocol::StoreChunk {
            bail!("a request that is none of this benchmark's");
        }
        let blob = request.decode::<Store>()?;
        let receipt = spawn_blocking(move || self.keep(&blob)).await??;
        request.respond::<Store>(StoreAnswer::Stored(receipt)).await;
        Ok(())
    }

    fn keep(&self, blob: &StoreRequest) -> Result<SignedReceipt> {
        if BlobId::of(&blob.data) != blob.blob_id {
            bail!("a blob does not have its hash");
        }
        self.write(&blob.blob_id.to_string(), &blob.data)
            .context("a blob cannot be written")?;
        let receipt = Receipt {
            context: NetworkContext {
                network_id: NETWORK_ID,
                peer_id: self.keypair.public().to_peer_id(),
            },
            blob_id: blob.blob_id,
            length: blob.data.len() as u64,
            stored_at_ms: 0,
        };
        Ok(receipt.sign(&self.keypair)?)
    }

    /// As a real node does it: a temporary file, flushed, moved to `blobs/a/bc/`, and that flushed.
    fn write(&self, name: &str, data: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join("tmp").join(name);
        let mut file = File::create_new(&temporary)?;
        file.write_all(data)?;
        file.sync_all()?;
        let parent = self.dir.join("blobs").join(&name[..1]).join(&name[1..3]);
        self.create_dir(&parent)?;
        fs::rename(&temporary, parent.join(name))?;
        File::open(&parent)?.sync_all()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        for dir in dir.ancestors().skip(1).take(3) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}
