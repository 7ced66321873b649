//! `coordinator serve`: brings the parts up in order, waits, and takes them down in reverse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::database::Pool;
use anyhow::{Context, anyhow};
use kit::config::Reloader;
use kit::{Clock, Entropy, ReadyFile, Signals, Told};
use network::PeerManager;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::addresses;
use crate::compose::{Coordinator, Parts};
use crate::config::Config;
use crate::durability::restore;
use crate::fleet::admission::RegisteredPeers;
use crate::fleet::peers::PeerNetwork;
use crate::http::{self, server};
use crate::keys::instance::{self, DirLock};
use crate::keys::network_document;
use crate::{database, fleet, keys, p2p};

pub async fn run(
    config: Config,
    mut reloader: Reloader,
    migrate: bool,
    ready_file: Option<PathBuf>,
) -> anyhow::Result<()> {
    // First of all: as process 1 of a container it would not even be ended by a signal otherwise.
    let mut signals = Signals::install()?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let ready_file = ready_file.map(ReadyFile::new).transpose()?;
    let http_listener = bind("http.listen", config.http.listen).await?;
    let s3_listener = match config.s3.listen {
        Some(address) => Some(bind("s3.listen", address).await?),
        None => None,
    };
    let metrics_listener = bind("metrics.listen", config.metrics.listen).await?;
    let keys_lock = DirLock::take(&config.keys.dir)?;
    let pool = tokio::select! {
        pool = open_database(&config, migrate) => pool?,
        _ = signals.received() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    let keys = keys::open(&config.keys.dir, &pool, &mut entropy.rng()).await?;
    // Before anybody is told where this coordinator is.
    tokio::select! {
        claimed = instance::claim(&keys_lock, &keys, &pool) => claimed?,
        _ = signals.received() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    }

    let registered = RegisteredPeers::new(pool.clone(), config.p2p.auth_mode.into());
    let known = fleet::peers::known_addresses(&pool).await?;
    let network_config = p2p::network_config(&config, &keys, Arc::clone(&registered), known)?;
    let network = network::start(network_config)
        .await
        .context("p2p.listen: another program may use the port")?;
    let listening = network.handle.listen_addrs().await;
    let addrs = p2p::announced(&config, &listening);
    let peers = PeerManager::spawn(
        network.handle.clone(),
        network.events,
        p2p::peer_policy(&config),
        entropy.rng(),
    );
    let document = network_document::publish(&pool, &keys, addrs, clock.now()).await?;

    let http_address = http_listener.local_addr()?;
    let metrics_address = metrics_listener.local_addr()?;
    let s3_address = s3_listener
        .as_ref()
        .map(TcpListener::local_addr)
        .transpose()?;
    let (peer_id, network_id) = (network.handle.local_peer_id(), keys.network_id);
    let (http_config, handle) = (config.http.clone(), network.handle.clone());
    let peer_network = PeerNetwork {
        handle: handle.clone(),
        observer: peers.observer(),
        registered,
    };
    let composed = Coordinator::compose(Parts {
        config,
        db: pool.clone(),
        ring: Arc::new(keys),
        document,
        peers: peer_network,
        clock,
        entropy,
    });
    let coordinator = composed.await?;
    addresses::form_all(&coordinator.accounts).await?;

    coordinator.keys.say_running().await?;
    if restore::stands(&pool).await? {
        tracing::warn!(
            "restore mode is on: nothing is trashed, repaired, audited, charged or paid until every node \
             has been gone through. `coordinator restore status` shows how far that is"
        );
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let serving_peers = tokio::spawn(p2p::serve(
        Arc::clone(&coordinator.nodes),
        Arc::clone(&coordinator.proofs),
        peers,
        network.requests,
    ));
    let statuses = coordinator.start_jobs(&tasks, &stop);
    let serve = |listener, router| {
        let stop = stop.clone();
        tasks.spawn(server::serve(listener, router, http_config.clone(), stop));
    };
    serve(http_listener, http::router(&coordinator, statuses.clone()));
    if let Some(listener) = s3_listener {
        serve(listener, http::s3::router(&coordinator)?);
    }
    serve(
        metrics_listener,
        http::metrics_router(&coordinator, statuses),
    );
    tasks.close();

    if let Some(file) = &ready_file {
        let p2p: Vec<String> = listening.iter().map(ToString::to_string).collect();
        file.write(&json!({
            "http": http_address,
            "s3": s3_address,
            "metrics": metrics_address,
            "p2p": p2p,
            "peer_id": peer_id.to_string(),
        }))?;
    }
    tracing::info!(http = %http_address, %peer_id, %network_id, "the coordinator is ready");
    let mut serving_peers = serving_peers;
    let failed = loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop(_) => break None,
                Told::Reload => {
                    reloader.reload();
                    if let Err(error) = coordinator.keys.ring.refresh(&pool).await {
                        tracing::error!("SIGHUP: the keys stay as they were: {error:#}");
                    }
                }
            },
            _ = &mut serving_peers => break Some(anyhow!("the peer network has ended by itself")),
            () = coordinator.keys.replaced.cancelled() => {
                break Some(anyhow!(
                    "another process serves as this coordinator (its keys.dir was copied, or this process stood still \
                     for longer than its lease)"
                ));
            }
            error = coordinator.files.chunk_commits.ended() => {
                break Some(anyhow!(error).context("nothing writes chunks any more"));
            }
            error = coordinator.files.file_commits.ended() => {
                break Some(anyhow!(error).context("nothing writes files any more"));
            }
        }
    };
    tracing::info!("stopping: running requests may finish");
    drop(ready_file);
    stop.cancel();
    // The servers bound their own wait; workers end after the step they are in.
    let limit = http_config.shutdown_timeout + Duration::from_secs(5);
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!("background work did not end in time and is cut");
    }
    coordinator.keys.say_stopped().await;
    handle.shutdown().await;
    if failed.is_none() {
        let _ = tokio::time::timeout(Duration::from_secs(5), serving_peers).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), network.service).await;
    let _ = tokio::time::timeout(Duration::from_secs(5), pool.close()).await;
    drop(keys_lock);
    tracing::info!("stopped");
    match failed {
        Some(error) => Err(error.context("see the log; start it again")),
        None => Ok(()),
    }
}

async fn open_database(config: &Config, migrate: bool) -> anyhow::Result<Pool> {
    let pool = database::connect(config.database_url()?, &config.database).await?;
    if migrate {
        database::migrate(&pool).await?;
    } else {
        database::check_schema(&pool).await?;
    }
    database::check_rights(&pool).await?;
    Ok(pool)
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{name}: cannot listen on {address}. Choose another port, or stop what uses it")
    })
}
