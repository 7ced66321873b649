//! `coordinator serve`: brings the parts up in order, waits, and takes them down in reverse.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use network::PeerManager;
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::peers::PeerNetwork;
use crate::app::registered::RegisteredPeers;
use crate::app::{App, adopt, network_document};
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

    let registered = RegisteredPeers::new(pool.clone(), config.p2p.auth_mode.into());
    let network_config = p2p::network_config(&config, &keys, Arc::clone(&registered))?;
    let network = network::start(network_config)
        .await
        .context("p2p.listen: another program may use the port")?;
    let listening = network.handle.listen_addrs().await;
    let addrs = p2p::announced(&config, &listening);
    let peers = PeerManager::spawn(
        network.handle.clone(),
        network.events,
        p2p::peer_policy(&config),
        clock::sendable_rng(),
    );
    let document = network_document::publish(&pool, &keys, addrs).await?;

    let http_address = http_listener.local_addr()?;
    let metrics_address = metrics_listener.local_addr()?;
    let (peer_id, network_id) = (network.handle.local_peer_id(), keys.network_id);
    let (http_config, handle) = (config.http.clone(), network.handle.clone());
    let metrics = Arc::new(Metrics::new());
    let peer_network = PeerNetwork {
        handle: handle.clone(),
        observer: peers.observer(),
        registered,
    };
    let app = App::new(config, pool.clone(), keys, document, peer_network, metrics).await?;

    app.say_running().await?;
    if adopt::stands(&pool).await? {
        tracing::warn!(
            "adopt mode is on: nothing is trashed, repaired, audited, charged or paid until every node \
             has been gone through. `coordinator adopt status` shows how far that is"
        );
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
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
    app.say_stopped().await;
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
