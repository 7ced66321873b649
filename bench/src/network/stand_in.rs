//! The two sides of a peer network without storage: a coordinator in this process, and processes full
//! of peers.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use local_cluster::process::ProcessId;
use local_cluster::proxy::TcpProxy;
use network::{
    InboundRequest, Keypair, Limits, Multiaddr, Network, NetworkEvent, NetworkHandle, PeerEvent,
    PeerId, PeerManager, PeerPolicy, PeersObserver, Target, multiaddr, start,
};
use proto::{
    Heartbeat, HeartbeatAnswer, HeartbeatReport, MicroCredits, NodeActivity, Refusal, RefusalCode,
    Store, StoreAnswer, protocols,
};
use rand::RngExt;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use crate::peer;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(120);

/// Peers in a process of their own.
#[derive(Debug, Args)]
pub(crate) struct NetworkPeers {
    #[arg(long)]
    coordinator: String,
    #[arg(long)]
    count: usize,
}

/// The coordinator's side: policy, heartbeats answered, events noted with their time.
pub(super) struct Coordinator {
    keypair: Keypair,
    addr: Multiaddr,
    pub(super) handle: NetworkHandle,
    pub(super) observer: PeersObserver,
    events: mpsc::Receiver<(Instant, PeerEvent)>,
    service: tokio::task::JoinHandle<()>,
}

impl Coordinator {
    pub(super) async fn start() -> Result<Self> {
        Self::start_as(Keypair::generate_ed25519(), "/ip4/127.0.0.1/tcp/0".parse()?).await
    }

    async fn start_as(keypair: Keypair, listen: Multiaddr) -> Result<Self> {
        let mut config = peer::coordinator(keypair.clone());
        config.listen = vec![listen];
        config.limits = Limits {
            connections: 100_000,
            connections_per_address: 100_000,
            ..Limits::default()
        };
        let Network {
            handle,
            events,
            requests,
            service,
        } = start(config).await?;
        let addrs = handle.listen_addrs().await;
        let addr = addrs.first().context("no address to listen on")?.clone();
        let random = kit::Entropy::system().rng();
        let mut peers = PeerManager::spawn(handle.clone(), events, PeerPolicy::default(), random);
        let observer = peers.observer();
        tokio::spawn(answer_heartbeats(requests));
        let (sender, noted) = mpsc::channel(100_000);
        tokio::spawn(async move {
            while let Some(event) = peers.next_event().await {
                let uninteresting = matches!(event, PeerEvent::Ping { .. });
                if !uninteresting && sender.send((Instant::now(), event)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            keypair,
            addr,
            handle,
            observer,
            events: noted,
            service,
        })
    }

    pub(super) fn id(&self) -> PeerId {
        self.handle.local_peer_id()
    }

    pub(super) fn place(&self) -> String {
        format!("{}/p2p/{}", self.addr, self.id())
    }

    pub(super) async fn stop(self) {
        self.handle.shutdown().await;
        let _ = self.service.await;
    }

    /// The same identity on the same address.
    pub(super) async fn restart(self) -> Result<Self> {
        let (keypair, addr) = (self.keypair.clone(), self.addr.clone());
        self.stop().await;
        Self::start_as(keypair, addr).await
    }

    /// A relay in front of it, and the place at which it is found there.
    pub(super) async fn behind_proxy(&self) -> Result<(TcpProxy, String)> {
        let port = self.addr.iter().find_map(|part| match part {
            multiaddr::Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let socket = SocketAddr::from(([127, 0, 0, 1], port.context("no port")?));
        let proxy = TcpProxy::start(socket).await?;
        let place = format!(
            "/ip4/127.0.0.1/tcp/{}/p2p/{}",
            proxy.addr().port(),
            self.id()
        );
        Ok((proxy, place))
    }

    /// When the event came that `wanted` recognises.
    pub(super) async fn when(&mut self, wanted: impl Fn(&PeerEvent) -> bool) -> Result<Instant> {
        let found = async {
            while let Some((at, event)) = self.events.recv().await {
                if wanted(&event) {
                    return Ok(at);
                }
            }
            bail!("the peer network has stopped")
        };
        timeout(TIMEOUT, found)
            .await
            .context("what is waited for does not happen")?
    }

    /// When each of so many peers has connected.
    pub(super) async fn arrivals(&mut self, count: usize) -> Result<Vec<Instant>> {
        let mut times = Vec::new();
        let mut seen = HashSet::new();
        let all = async {
            while times.len() < count {
                match self.events.recv().await {
                    Some((at, PeerEvent::Connected { peer, .. })) => {
                        if seen.insert(peer) {
                            times.push(at);
                        }
                    }
                    Some(_) => {}
                    None => bail!("the peer network has stopped"),
                }
            }
            Ok(())
        };
        timeout(TIMEOUT, all)
            .await
            .context("not all peers have come")??;
        Ok(times)
    }
}

async fn answer_heartbeats(mut requests: mpsc::Receiver<InboundRequest>) {
    while let Some(mut request) = requests.recv().await {
        if request.protocol != protocols::HEARTBEAT || request.decode::<Heartbeat>().is_err() {
            continue;
        }
        let answer = HeartbeatAnswer {
            earned: MicroCredits::ZERO,
            server_time_ms: 0,
            state: "active".to_owned(),
            state_reason: String::new(),
            network_serial: 1,
            last_ledger_day: None,
        };
        request.respond::<Heartbeat>(answer).await;
    }
}

pub(super) async fn refuse_blobs(mut requests: mpsc::Receiver<InboundRequest>) {
    while let Some(mut request) = requests.recv().await {
        if request.decode::<Store>().is_ok() {
            let refusal = Refusal {
                code: RefusalCode::Full,
                detail: String::new(),
            };
            request
                .respond::<Store>(StoreAnswer::Refused(refusal))
                .await;
        }
    }
}

pub(super) const REPORT: HeartbeatReport = HeartbeatReport {
    capacity_bytes: 1,
    used_bytes: 0,
    free_bytes: 1,
    blob_count: 0,
    activity: NodeActivity::Running,
    deferred: proto::DeferredPurges::NONE,
};

impl NetworkPeers {
    /// Connects, beats, refuses blobs, until standard input ends.
    pub(crate) async fn run(self) -> Result<()> {
        let coordinator: Target = self.coordinator.parse()?;
        for _ in 0..self.count {
            spawn_peer(coordinator.clone()).await?;
        }
        let mut line = std::io::stdout();
        std::io::Write::write_all(&mut line, b"started\n")?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    }
}

async fn spawn_peer(coordinator: Target) -> Result<()> {
    let config = peer::node(Keypair::generate_ed25519());
    let Network {
        handle,
        events,
        requests,
        ..
    } = start(config).await?;
    stay_with(coordinator, handle, events);
    tokio::spawn(refuse_blobs(requests));
    Ok(())
}

/// Dials, watches and dials again by the policy, and beats.
pub(crate) fn stay_with(
    coordinator: Target,
    handle: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
) {
    let mut random = kit::Entropy::system().rng();
    let first_beat = HEARTBEAT_EVERY.mul_f64(random.random());
    let mut peers = PeerManager::spawn(handle.clone(), events, PeerPolicy::default(), random);
    let peer = coordinator.peer_id;
    peers.set_targets(vec![Target {
        answers_only: true,
        ..coordinator
    }]);
    tokio::spawn(async move { while peers.next_event().await.is_some() {} });
    tokio::spawn(async move {
        sleep(first_beat).await;
        let mut ticks = interval(HEARTBEAT_EVERY);
        loop {
            ticks.tick().await;
            let _ = handle.call::<Heartbeat>(peer, REPORT).await;
        }
    });
}

/// A process with peers, killed when it is dropped.
pub(super) struct PeerProcess(Child);

impl PeerProcess {
    pub(super) fn start(place: &str, count: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["network-peers", "--coordinator", place, "--count"])
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start peers")?;
        let output = child.stdout.take().context("no output")?;
        let mut started = String::new();
        let process = Self(child);
        BufReader::new(output).read_line(&mut started)?;
        ensure!(started == "started\n", "peers did not start");
        Ok(process)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(ProcessId::of(self.0.id())?.signal(signal)?)
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) async fn connect_once(coordinator: &Coordinator) -> Result<(Network, Duration)> {
    let config = peer::node(Keypair::generate_ed25519());
    let mut network = start(config).await?;
    let began = Instant::now();
    let addrs = vec![coordinator.addr.clone()];
    network.handle.dial(coordinator.id(), addrs).await;
    let connected = async {
        while let Some(event) = network.events.recv().await {
            match event {
                NetworkEvent::Connected { .. } => return Ok(began.elapsed()),
                NetworkEvent::DialFailed { error, .. } => bail!("a dial failed: {error}"),
                _ => {}
            }
        }
        bail!("the peer network has stopped")
    };
    let took = timeout(TIMEOUT, connected).await??;
    Ok((network, took))
}
