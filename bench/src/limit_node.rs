//! A node that does nothing but keep blobs: hash, the store's own append, receipt.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use blobstore::{Layout, NewBlob, SegmentOptions, Segments};
use clap::Args;
use network::{InboundRequest, Keypair, Network, NetworkEvent, NetworkHandle, Target};
use proto::{
    BlobId, NetworkContext, Receipt, SignedReceipt, Store, StoreAnswer, StoreRequest, protocols,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::limit::NETWORK_ID;
use crate::network::stay_with;
use crate::peer;

const REQUESTS_UNDER_WAY: usize = 16;
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct LimitNode {
    /// Where the blobs go
    #[arg(long)]
    dir: PathBuf,
    /// A multiaddr that ends in /p2p/…
    #[arg(long)]
    coordinator: String,
    /// Watch, be watched and beat as a real node does
    #[arg(long)]
    policy: bool,
}

impl LimitNode {
    /// Serves until standard input ends, which it does with the benchmark.
    pub(crate) async fn run(self) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let keeper = Arc::new(Keeper {
            appends: appender(Segments::open(&self.dir, SegmentOptions::default())?)?,
            keypair: Keypair::generate_ed25519(),
        });
        let coordinator: Target = self.coordinator.parse()?;
        let config = peer::node(keeper.keypair.clone());
        let Network {
            handle,
            events,
            mut requests,
            ..
        } = network::start(config).await?;
        if self.policy {
            stay_with(coordinator, handle, events);
        } else {
            connect(coordinator, &handle, events).await?;
        }

        let mut end = spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
        let room = Arc::new(Semaphore::new(REQUESTS_UNDER_WAY));
        loop {
            let request = tokio::select! {
                request = requests.recv() => request,
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

async fn connect(
    coordinator: Target,
    handle: &NetworkHandle,
    mut events: mpsc::Receiver<NetworkEvent>,
) -> Result<()> {
    handle.dial(coordinator.peer_id, coordinator.addrs).await;
    let connected = async {
        while let Some(event) = events.recv().await {
            match event {
                NetworkEvent::Connected { .. } => return Ok(()),
                NetworkEvent::DialFailed { error, .. } => bail!("{error}"),
                _ => {}
            }
        }
        bail!("the peer network has ended")
    };
    tokio::time::timeout(CONNECTED_WITHIN, connected)
        .await
        .unwrap_or_else(|_| Err(anyhow!("it does not answer")))
        .context("cannot connect to the benchmark")?;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    Ok(())
}

type Append = (NewBlob, oneshot::Sender<io::Result<()>>);

/// The thread that writes: whatever waits goes to the disk with one flush, as in a real node.
fn appender(layout: Segments) -> Result<mpsc::Sender<Append>> {
    let (appends, mut queue) = mpsc::channel::<Append>(REQUESTS_UNDER_WAY);
    let work = move || {
        while let Some(first) = queue.blocking_recv() {
            let mut waiting = vec![first];
            while let Ok(next) = queue.try_recv() {
                waiting.push(next);
            }
            let (blobs, replies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            for (reply, outcome) in replies.into_iter().zip(layout.append(&blobs)) {
                let _ = reply.send(outcome.map(drop));
            }
        }
    };
    std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(work)?;
    Ok(appends)
}

struct Keeper {
    appends: mpsc::Sender<Append>,
    keypair: Keypair,
}

impl Keeper {
    async fn serve(self: Arc<Self>, mut request: InboundRequest) -> Result<()> {
        if request.protocol != protocols::STORE_CHUNK {
            bail!("a request that is none of this benchmark's");
        }
        let blob = request.decode::<Store>()?;
        let receipt = self.keep(blob).await?;
        request.respond::<Store>(StoreAnswer::Stored(receipt)).await;
        Ok(())
    }

    async fn keep(&self, blob: StoreRequest) -> Result<SignedReceipt> {
        let receipt = Receipt {
            context: NetworkContext {
                network_id: NETWORK_ID,
                peer_id: self.keypair.public().to_peer_id(),
            },
            blob_id: blob.blob_id,
            length: blob.data.len() as u64,
            stored_at_ms: 0,
        };
        let blob = spawn_blocking(move || match BlobId::of(&blob.data) == blob.blob_id {
            true => Ok(blob),
            false => bail!("a blob does not have its hash"),
        });
        let blob = blob.await??;
        let (reply, appended) = oneshot::channel();
        let new = NewBlob {
            id: blob.blob_id,
            locator: blob.locator,
            stored_at_ms: 0,
            data: blob.data,
            trashed_at_ms: None,
            deferred_until_ms: None,
        };
        self.appends.send((new, reply)).await?;
        appended.await?.context("a blob cannot be written")?;
        Ok(receipt.sign(&self.keypair)?)
    }
}
