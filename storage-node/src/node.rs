//! A running node, from its settings to its last heartbeat.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use blobstore::{Brake, Scrubber, Store, StoreOptions};
use kit::config::Reloader;
use kit::metrics::Metrics;
use kit::{Clock, Entropy, ReadyFile, Signals, Told};
use libp2p_identity::Keypair;
use network::PeerManager;
use proto::{NetworkContext, NetworkDocument};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Exposition;
use crate::agent::{Agent, Deleter, Orders, Prover, Service, Signer, report_losses};
use crate::config::Config;
use crate::membership::{
    CoordinatorApi, Coordinators, DocumentFollower, LedgerDays, Lifecycle, Link,
};
use crate::peers::{Guests, PeerCache, PeerNetwork};
use crate::served::Served;
use crate::volume::{Credentials, Instance, Running, Volume, VolumeLock, capacity};
use crate::{admin, peers};

/// What runs when the node is told to stop may go on for this long.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// `--ready-file`
#[derive(Serialize)]
struct Ready {
    admin: std::net::SocketAddr,
    p2p: Vec<String>,
    peer_id: String,
    node_id: String,
}

/// Files that tell others of a running node; gone when it is.
struct Announcements {
    volume: Volume,
    ready_file: Option<ReadyFile>,
}

/// What is read from the data directory before anything is started.
struct Opened {
    volume: Volume,
    keypair: Keypair,
    credentials: Credentials,
    document: NetworkDocument,
    store: Store,
    orders: Orders,
    instance: Instance,
    _lock: VolumeLock,
}

/// Runs the node until a signal tells it to stop.
pub(crate) async fn run(
    config: Config,
    mut reloader: Reloader,
    ready_file: Option<PathBuf>,
    mut signals: Signals,
) -> Result<()> {
    let ready_file = ready_file.map(ReadyFile::new).transpose()?;
    let settings = config.clone();
    let opened = spawn_blocking(move || Opened::open(&settings)).await??;
    let announcements = Announcements {
        volume: opened.volume.clone(),
        ready_file,
    };
    let node = Node::start(config, opened, announcements).await?;
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop(signal) => {
                    tracing::info!("{signal}: stopping");
                    break;
                }
                Told::Reload => reloader.reload(),
            },
            () = node.failed.cancelled() => {
                tracing::error!("a part of the node has ended: stopping");
                break;
            }
        }
    }
    let failed = node.failed.is_cancelled();
    if tokio::time::timeout(STOP_WITHIN, node.stop())
        .await
        .is_err()
    {
        bail!("what was running did not finish within {STOP_WITHIN:?}");
    }
    if failed {
        bail!("the node stopped because a part of it had ended; the log says which");
    }
    Ok(())
}

impl Opened {
    fn open(config: &Config) -> Result<Self> {
        let volume = Volume::at(config.data_dir()?);
        let keypair = volume.open(config.store.layout)?;
        volume.expect_identity(config.node.peer_id.as_ref())?;
        let lock = volume.lock()?;
        let credentials = volume.credentials()?;
        let Some(document) = volume.network_document()? else {
            bail!("the node has no network document: run `storage-node init`");
        };
        let capacity = capacity(config.node.capacity, volume.root())?;
        let options = StoreOptions {
            scrub_period: config.scrub.period,
            trash_retention: config.trash.retention,
            brake: Some(Brake::default()),
            ..StoreOptions::new(volume.layout()?, capacity)
        };
        let store = Store::open(volume.root(), options, Clock::system())?;
        let orders = Orders::open(&volume.orders_path())?;
        let instance = volume.begin_instance(&mut Entropy::system().rng())?;
        Ok(Self {
            volume,
            keypair,
            credentials,
            document,
            store,
            orders,
            instance,
            _lock: lock,
        })
    }
}

struct Node {
    store: Store,
    lifecycle: Lifecycle,
    link: Link,
    /// Ends the loops that take new work.
    cancel: CancellationToken,
    /// A loop that should not end has ended.
    failed: CancellationToken,
    loops: TaskTracker,
    requests: TaskTracker,
    announcements: Announcements,
    _lock: VolumeLock,
}

impl Node {
    async fn start(config: Config, opened: Opened, announcements: Announcements) -> Result<Self> {
        let Opened {
            volume,
            keypair,
            credentials,
            document,
            store,
            orders,
            instance,
            _lock,
        } = opened;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let api = CoordinatorApi::of(&config, &credentials)?;
        let context = NetworkContext {
            network_id: document.network_id,
            peer_id: keypair.public().to_peer_id(),
        };
        let admin_listener = TcpListener::bind(config.admin.listen)
            .await
            .with_context(|| {
                format!(
                    "the admin API cannot listen on {}; choose another address with admin.listen",
                    config.admin.listen
                )
            })?;
        let guests = Arc::new(Guests::new(&config));
        let network_config =
            peers::network_config(&config, keypair.clone(), document.network_id, &guests);
        let network = network::start(network_config).await.context("p2p.listen")?;
        let policy = peers::policy(&config);
        let handle = network.handle.clone();
        let peer_manager = PeerManager::spawn(handle, network.events, policy, entropy.rng());
        let peer_network = PeerNetwork {
            handle: network.handle.clone(),
            observer: peer_manager.observer(),
            guests: Arc::clone(&guests),
        };
        let cache_path = volume.peer_cache_path();
        let known = spawn_blocking({
            let path = cache_path.clone();
            move || PeerCache::load(&path)
        });
        let known = known.await?;
        peer_network.observer.remember(known.known()).await;
        guests.remember(known.learnt());
        let coordinators = Arc::new(Coordinators::new(clock.clone()));
        let lifecycle = Lifecycle::new(store.clone(), Arc::clone(&coordinators));
        let scrubber = Scrubber::new(store.clone());
        let (newest_serial, serials) = watch::channel(document.serial);
        let ledger_days = LedgerDays::open(volume.root(), &document, clock.clone())?;
        let follower = DocumentFollower {
            coordinators: Arc::clone(&coordinators),
            volume: volume.clone(),
            api: api.clone(),
            document,
            targets: peer_manager.targets(),
            guests,
            newest_serial: serials,
        };
        let link = Link {
            node_id: credentials.node_id,
            store: store.clone(),
            lifecycle: lifecycle.clone(),
            coordinators: Arc::clone(&coordinators),
            network: network.handle.clone(),
            failures: config.ping.failures,
            newest_serial,
            ledger_days: ledger_days.clone(),
            instance,
        };
        let mut metrics = Metrics::new(admin::PREFIX, env!("CARGO_PKG_VERSION"));
        let served = Served::new(&mut metrics, clock.clone());
        let signer = Signer { keypair, context };
        let disk_share = config.proofs.disk_share;
        let service = Service {
            store: store.clone(),
            signer: signer.clone(),
            lifecycle: lifecycle.clone(),
            deleter: Deleter {
                store: store.clone(),
                signer: signer.clone(),
                orders: orders.clone(),
                clock: clock.clone(),
            },
            prover: Prover::new(
                store.clone(),
                signer,
                orders.clone(),
                lifecycle.clone(),
                disk_share,
            ),
            orders,
            served: served.clone(),
        };
        let operator = admin::Operator {
            token: volume.admin_token(&mut entropy.rng())?,
            api,
            credentials: credentials.clone(),
        };
        let subject = admin::Subject {
            name: config.node.name.clone().unwrap_or_default(),
            node_id: credentials.node_id,
            context,
            clock: clock.clone(),
            started_at: clock.now(),
            store: store.clone(),
            scrubber: scrubber.clone(),
            lifecycle: lifecycle.clone(),
            coordinators: Arc::clone(&coordinators),
            network: network.handle.clone(),
            ledger_days,
            served,
        };
        let admin_address = admin_listener.local_addr()?;
        let exposition = Exposition::new(metrics);
        let router = admin::router(
            admin_address,
            subject,
            peer_network.clone(),
            operator,
            exposition,
        );

        let cancel = CancellationToken::new();
        let node = Self {
            store: store.clone(),
            lifecycle,
            link: link.clone(),
            cancel: cancel.clone(),
            failed: CancellationToken::new(),
            loops: TaskTracker::new(),
            requests: TaskTracker::new(),
            announcements,
            _lock,
        };
        // From here on everything runs: the coordinators are dialled only now.
        let agent = Agent::new(Arc::clone(&coordinators), service, node.requests.clone());
        node.guard("the agent", agent.run(network.requests, cancel.clone()));
        node.guard(
            "the link to coordinators",
            link.run(peer_manager, cancel.clone()),
        );
        follower.apply()?;
        node.guard("the membership", follower.run(cancel.clone()));
        let keeping = peers::keep_cache(
            cache_path,
            peer_network.observer.clone(),
            Arc::clone(&peer_network.guests),
            known,
            clock,
            cancel.clone(),
        );
        node.guard("the peer cache", keeping);
        node.guard("the scrub", scrubber.run(cancel.clone()));
        let reporting = report_losses(
            store.clone(),
            Arc::clone(&coordinators),
            network.handle.clone(),
        );
        node.guard_until_stop("the reports of losses", reporting);
        let collecting = store
            .clone()
            .collect_trash(move || coordinators.agree_on_the_time());
        node.guard_until_stop("the trash collection", collecting);
        node.guard_until_stop("the compaction", store.keep_compact());
        let until = cancel.clone();
        node.guard("the admin API", async move {
            let server = axum::serve(admin_listener, router);
            let served = server.with_graceful_shutdown(until.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the admin API failed");
            }
        });
        node.announcements.announce(Ready {
            admin: admin_address,
            p2p: node.listen_addrs().await,
            peer_id: context.peer_id.to_string(),
            node_id: credentials.node_id.to_string(),
        })?;
        tracing::info!(
            node_id = %credentials.node_id,
            peer_id = %context.peer_id,
            admin = %admin_address,
            data_dir = %volume.root().display(),
            "the node is ready"
        );
        Ok(node)
    }

    /// Runs a loop that must not end before the node stops.
    fn guard(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        let failed = self.failed.clone();
        self.loops.spawn(async move {
            let outcome = tokio::spawn(work).await;
            if outcome.is_err() || !cancel.is_cancelled() {
                tracing::error!(part = name, "has ended unexpectedly");
                failed.cancel();
            }
        });
    }

    /// As [`Self::guard`], of a loop that ends wherever it is when the node stops.
    fn guard_until_stop(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let until = self.cancel.clone();
        self.guard(name, async move {
            until.run_until_cancelled(work).await;
        });
    }

    async fn listen_addrs(&self) -> Vec<String> {
        let addrs = self.link.network.listen_addrs().await;
        addrs.iter().map(ToString::to_string).collect()
    }

    /// Says good-bye, finishes what runs, closes the store.
    async fn stop(mut self) {
        self.lifecycle.stop();
        self.announcements.withdraw();
        self.link.say_farewell().await;
        self.cancel.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.requests.close();
        self.requests.wait().await;
        self.link.network.shutdown().await;
        self.store.close().await;
        tracing::info!("the node has stopped");
    }
}

impl Announcements {
    fn announce(&self, ready: Ready) -> Result<()> {
        self.volume.save_running(&Running {
            pid: std::process::id(),
            admin: ready.admin,
        })?;
        match &self.ready_file {
            Some(file) => file.write(&ready),
            None => Ok(()),
        }
    }

    fn withdraw(&mut self) {
        self.ready_file = None;
        if let Err(error) = self.volume.remove_running() {
            tracing::warn!(error = format!("{error:#}"), "a file is left behind");
        }
    }
}
