//! A running node, from its settings to its last heartbeat.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libp2p_identity::Keypair;
use network::PeerManager;
use proto::{NetworkContext, NetworkDocument};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::config::Config;
use crate::coordinator_api::CoordinatorApi;
use crate::ledger_days::LedgerDays;
use crate::link::Link;
use crate::membership::Membership;
use crate::peers::{Guests, PeerNetwork};
use crate::prover::Prover;
use crate::signals::Signals;
use crate::state::{Parts, State};
use crate::store::{Readers, Scrubber, Store, StoreOptions, catalogue_path, disk_space};
use crate::volume::{Credentials, Running, Volume, VolumeLock};
use crate::{admin, clock, losses, peers, private_file};

/// What runs when the node is told to stop may go on for this long.
const STOP_WITHIN: Duration = Duration::from_secs(30);
const TRASH_BATCH: u32 = 500;
/// Compaction moves no more than this, so that it cannot be felt by those who use the disk.
const COMPACTED_BYTES_PER_SECOND: f64 = 16.0 * 1024.0 * 1024.0;
const COMPACTION_PAUSE: Duration = Duration::from_secs(60);

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
    ready_file: Option<PathBuf>,
}

/// What is read from the data directory before anything is started.
struct Opened {
    volume: Volume,
    keypair: Keypair,
    credentials: Credentials,
    document: NetworkDocument,
    store: Store,
    _lock: VolumeLock,
}

/// Runs the node until a signal tells it to stop.
pub async fn run(config: Config, ready_file: Option<PathBuf>, mut signals: Signals) -> Result<()> {
    if let Some(path) = &ready_file {
        private_file::remove(path)?;
    }
    let settings = config.clone();
    let opened = spawn_blocking(move || Opened::open(&settings)).await??;
    let announcements = Announcements {
        volume: opened.volume.clone(),
        ready_file,
    };
    let node = Node::start(config, opened, announcements).await?;
    tokio::select! {
        signal = signals.received() => tracing::info!("{signal}: stopping"),
        () = node.failed.cancelled() => tracing::error!("a part of the node has ended: stopping"),
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
        let capacity = capacity(config, &volume)?;
        let options = StoreOptions::new(volume.layout()?, capacity);
        let store = Store::open(volume.root(), options, clock::now)?;
        Ok(Self {
            volume,
            keypair,
            credentials,
            document,
            store,
            _lock: lock,
        })
    }
}

/// The configured capacity, or 80 % of what blobs take or could take now.
pub fn capacity(config: &Config, volume: &Volume) -> Result<u64> {
    if let Some(capacity) = config.node.capacity {
        return Ok(capacity.0);
    }
    let (free, _) = disk_space(volume.root())
        .with_context(|| format!("cannot measure the disk of {}", volume.root().display()))?;
    let path = catalogue_path(volume.root());
    let used = match path.exists() {
        // A damaged catalogue is not this function's business: the store will say what to do.
        true => Readers::open(&path)
            .and_then(|readers| readers.counts())
            .map_or(0, |counts| counts.on_disk().disk_bytes),
        false => 0,
    };
    Ok((free + used) / 10 * 8)
}

struct Node {
    state: Arc<State>,
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
            _lock,
        } = opened;
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
        let peer_manager = PeerManager::spawn(handle, network.events, policy, clock::rng());
        let peer_network = PeerNetwork {
            handle: network.handle.clone(),
            observer: peer_manager.observer(),
            guests: Arc::clone(&guests),
        };
        let known = spawn_blocking({
            let volume = volume.clone();
            move || volume.peer_cache()
        });
        let known = known.await?;
        peer_network.observer.remember(known.known()).await;
        guests.remember(known.learnt());
        let scrubber = Scrubber::new(store.clone(), config.scrub.period);
        let state = Arc::new(State::new(Parts {
            name: config.node.name.clone().unwrap_or_default(),
            node_id: credentials.node_id,
            keypair,
            context,
            store,
            scrubber: scrubber.clone(),
            clock: clock::now,
            network: network.handle.clone(),
        }));
        let (newest_serial, serials) = watch::channel(document.serial);
        let ledger_days = LedgerDays::open(volume.root().join("ledger-days.json"), &document)?;
        let membership = Membership {
            state: Arc::clone(&state),
            volume: volume.clone(),
            api: api.clone(),
            document,
            targets: peer_manager.targets(),
            guests,
            newest_serial: serials,
        };
        let link = Link {
            ledger_days,
            state: Arc::clone(&state),
            network: network.handle.clone(),
            failures: config.ping.failures,
            newest_serial,
        };
        let operator = admin::Operator {
            token: volume.admin_token(&mut clock::rng())?,
            api,
            credentials: credentials.clone(),
        };
        let admin_address = admin_listener.local_addr()?;
        let router = admin::router(Arc::clone(&state), peer_network.clone(), operator);

        let cancel = CancellationToken::new();
        let node = Self {
            state: Arc::clone(&state),
            link: link.clone(),
            cancel: cancel.clone(),
            failed: CancellationToken::new(),
            loops: TaskTracker::new(),
            requests: TaskTracker::new(),
            announcements,
            _lock,
        };
        // From here on everything runs: the coordinators are dialled only now.
        let prover = Prover::new(config.proofs.disk_share);
        let agent = Agent::new(Arc::clone(&state), prover, node.requests.clone());
        node.guard("the agent", agent.run(network.requests, cancel.clone()));
        node.guard(
            "the link to coordinators",
            link.run(peer_manager, cancel.clone()),
        );
        membership.apply()?;
        node.guard("the membership", membership.run(cancel.clone()));
        let observer = peer_network.observer.clone();
        let keeping = peers::keep_cache(
            volume.clone(),
            observer,
            Arc::clone(&peer_network.guests),
            known,
            clock::now,
            cancel.clone(),
        );
        node.guard("the peer cache", keeping);
        node.guard("the scrub", scrubber.run(cancel.clone()));
        let reporting = losses::report(Arc::clone(&state), network.handle.clone());
        let until = cancel.clone();
        node.guard("the reports of losses", async move {
            until.run_until_cancelled(reporting).await;
        });
        let retention = config.trash.retention;
        let emptying = empty_trash(state.store.clone(), retention);
        let until = cancel.clone();
        node.guard("the trash collection", async move {
            until.run_until_cancelled(emptying).await;
        });
        let compacting = compact(state.store.clone());
        let until = cancel.clone();
        node.guard("the compaction", async move {
            until.run_until_cancelled(compacting).await;
        });
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

    async fn listen_addrs(&self) -> Vec<String> {
        let addrs = self.link.network.listen_addrs().await;
        addrs.iter().map(ToString::to_string).collect()
    }

    /// Says good-bye, finishes what runs, closes the store.
    async fn stop(self) {
        self.state.stop();
        self.announcements.withdraw();
        self.link.say_farewell().await;
        self.cancel.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.requests.close();
        self.requests.wait().await;
        self.link.network.shutdown().await;
        self.state.store.close().await;
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
            Some(path) => private_file::write_json(path, &ready),
            None => Ok(()),
        }
    }

    fn withdraw(&self) {
        let ready_file = self.ready_file.as_deref().map(private_file::remove);
        for outcome in [Some(self.volume.remove_running()), ready_file] {
            if let Some(Err(error)) = outcome {
                tracing::warn!(error = format!("{error:#}"), "a file is left behind");
            }
        }
    }
}

/// Again and again, often enough that nothing stays much longer than it should.
async fn empty_trash(store: Store, retention: Duration) {
    let pause = (retention / 20).clamp(Duration::from_secs(1), Duration::from_secs(600));
    loop {
        let removed = store.empty_trash(retention, TRASH_BATCH).await;
        if removed > 0 {
            tracing::info!(
                blobs = removed,
                "removed what was in the trash for long enough"
            );
        }
        if removed < TRASH_BATCH as usize {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Gives back the room of removed blobs where the file system cannot do it by itself.
async fn compact(store: Store) {
    loop {
        tokio::time::sleep(match store.compact().await {
            0 => COMPACTION_PAUSE,
            moved => Duration::from_secs_f64(moved as f64 / COMPACTED_BYTES_PER_SECOND),
        })
        .await;
    }
}
