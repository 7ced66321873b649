//! `coordinator serve`: brings the parts up in order, waits, and takes them down in reverse.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use network::{Multiaddr, NetworkConfig, PeerManager, ReconnectPolicy};
use proto::Side;
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, network_document};
use crate::config::Config;
use crate::http::{self, server};
use crate::metrics::Metrics;
use crate::{clock, db, keys, p2p, workers};

pub async fn run(config: Config, migrate: bool, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
    // First of all: as process 1 of a container it would not even be ended by a signal otherwise.
    let mut signals = Signals::install()?;
    let ready_file = ready_file.map(ReadyFile::new).transpose()?;
    let http_listener = bind("http.listen", config.http.listen).await?;
    let metrics_listener = bind("metrics.listen", config.metrics.listen).await?;
    let pool = tokio::select! {
        pool = open_database(&config, migrate) => pool?,
        () = signals.received() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    let keys = keys::open(&config.keys.dir, &pool, &mut clock::sendable_rng()).await?;

    let mut network_config = NetworkConfig::new(keys.identity.clone(), Side::Coordinator);
    network_config.listen = multiaddrs("p2p.listen", &config.p2p.listen)?;
    network_config.external_addrs = multiaddrs("p2p.external_addrs", &config.p2p.external_addrs)?;
    network_config.agent = concat!("coordinator/", env!("CARGO_PKG_VERSION")).to_owned();
    let announced = network_config.external_addrs.clone();
    let network = network::start(network_config)
        .await
        .context("p2p.listen: another program may use the port")?;
    let listening = network.handle.listen_addrs().await;
    let announced = if announced.is_empty() {
        &listening
    } else {
        &announced
    };
    let addrs = announced.iter().map(ToString::to_string).collect();
    let document = network_document::publish(&pool, &keys, addrs).await?;

    let http_address = http_listener.local_addr()?;
    let metrics_address = metrics_listener.local_addr()?;
    let (peer_id, network_id) = (network.handle.local_peer_id(), keys.network_id);
    let (http_config, handle) = (config.http.clone(), network.handle.clone());
    let metrics = Arc::new(Metrics::new());
    let app = App::new(
        config,
        pool.clone(),
        keys,
        document,
        handle.clone(),
        metrics,
    )
    .await?;

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let peers = PeerManager::spawn(
        handle.clone(),
        network.events,
        ReconnectPolicy::default(),
        clock::sendable_rng(),
    );
    let serving_peers = tokio::spawn(p2p::serve(Arc::clone(&app), peers, network.requests));
    workers::spawn_all(&app, &tasks, &stop);
    let serve = |listener, router| {
        let stop = stop.clone();
        tasks.spawn(server::serve(listener, router, http_config.clone(), stop));
    };
    serve(http_listener, http::router(&app));
    serve(metrics_listener, http::metrics_router(&app));
    tasks.close();

    if let Some(file) = &ready_file {
        let p2p: Vec<String> = listening.iter().map(ToString::to_string).collect();
        file.write(&json!({
            "http": http_address,
            "metrics": metrics_address,
            "p2p": p2p,
            "peer_id": peer_id.to_string(),
        }))?;
    }
    tracing::info!(http = %http_address, %peer_id, %network_id, "the coordinator is ready");
    let mut serving_peers = serving_peers;
    let failed = tokio::select! {
        () = signals.received() => None,
        _ = &mut serving_peers => Some(anyhow!("the peer network has ended by itself")),
        () = app.committer.ended() => Some(anyhow!("nothing writes chunks any more")),
        () = app.whole_files.ended() => Some(anyhow!("nothing writes files any more")),
    };
    tracing::info!("stopping: running requests may finish");
    drop(ready_file);
    stop.cancel();
    // The servers bound their own wait; workers end after the step they are in.
    let limit = http_config.shutdown_timeout + Duration::from_secs(5);
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!("background work did not end in time and is cut");
    }
    handle.shutdown().await;
    if failed.is_none() {
        let _ = tokio::time::timeout(Duration::from_secs(5), serving_peers).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), network.service).await;
    let _ = tokio::time::timeout(Duration::from_secs(5), pool.close()).await;
    tracing::info!("stopped");
    match failed {
        Some(error) => Err(error.context("see the log; start it again")),
        None => Ok(()),
    }
}

async fn open_database(config: &Config, migrate: bool) -> anyhow::Result<PgPool> {
    let pool = db::connect(config.database_url()?, &config.database).await?;
    if migrate {
        db::migrate(&pool).await?;
    } else {
        db::check_schema(&pool).await?;
    }
    Ok(pool)
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{name}: cannot listen on {address}. Choose another port, or stop what uses it")
    })
}

fn multiaddrs(name: &str, texts: &[String]) -> anyhow::Result<Vec<Multiaddr>> {
    texts
        .iter()
        .map(|text| {
            text.parse().with_context(|| {
                format!("{name}: `{text}` is not a multiaddress like /ip4/0.0.0.0/tcp/4001")
            })
        })
        .collect()
}

/// What tells this process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells whoever started this process that it is ready, and where. Gone when it is not.
struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    /// Removes what an earlier process left.
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(Self { path }),
        }
    }

    fn write(&self, content: &serde_json::Value) -> anyhow::Result<()> {
        let write = |path: &Path| -> std::io::Result<()> {
            let temporary = path.with_extension("tmp");
            std::fs::write(&temporary, content.to_string())?;
            std::fs::rename(&temporary, path)
        };
        write(&self.path).with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
