//! `bench network`: the peer layer alone, with its policy: how fast connections stand, how soon a dead
//! peer is noticed, how a fleet comes back, what an idle peer costs.
//!
//! The coordinator's side runs in this process; peers run in processes of their own, many in one where
//! they only have to be there.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use local_cluster::edge;
use local_cluster::process::ProcessId;
use local_cluster::proxy::{Conditions, TcpProxy};
use network::{
    Keypair, Limits, Multiaddr, Network, NetworkConfig, NetworkHandle, PeerEvent, PeerId,
    PeerManager, PeerPolicy, PeersObserver, Target, multiaddr, start,
};
use proto::{
    BlobId, Heartbeat, HeartbeatAnswer, HeartbeatReport, Locator, MicroCredits, NodeActivity,
    Protocol, Refusal, RefusalCode, Side, Store, StoreAnswer, StoreRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::narrate;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const CHUNK: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub struct NetworkBench {
    /// Peers that come back after a restart
    #[arg(long, default_value_t = 200)]
    returning: usize,
    /// Peers that idle
    #[arg(long, default_value_t = 1000)]
    idle: usize,
    /// How long the idle ones are watched, in seconds
    #[arg(long, default_value_t = 30)]
    watch: u64,
}

/// Peers in a process of their own.
#[derive(Debug, Args)]
pub struct NetworkPeers {
    #[arg(long)]
    coordinator: String,
    #[arg(long)]
    count: usize,
}

struct Line {
    what: &'static str,
    limit: &'static str,
    reached: String,
    good: bool,
}

impl NetworkBench {
    pub async fn run(self) -> Result<()> {
        let mut lines = Vec::new();
        let mut note = |line: Line| {
            narrate(&format!("{}: {}", line.what, line.reached));
            lines.push(line);
        };
        let coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
        set_up(&coordinator, &mut note).await?;
        storm(&coordinator, &mut note).await?;
        round_trips(&coordinator, &mut note).await?;
        coordinator.stop().await;
        failures(&mut note).await?;
        return_of_the_fleet(self.returning, &mut note).await?;
        idle_cost(self.idle, Duration::from_secs(self.watch), &mut note).await?;

        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "must be", "reached", ""]);
        for line in &lines {
            let verdict = if line.good { "" } else { "MISSED" };
            table.add_row([line.what, line.limit, &line.reached, verdict]);
        }
        println!("{table}");
        Ok(())
    }
}

fn any_port() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0"
        .parse()
        .unwrap_or_else(|_| Multiaddr::empty())
}

/// The coordinator's side: policy, heartbeats answered, events noted with their time.
struct Coordinator {
    keypair: Keypair,
    addr: Multiaddr,
    handle: NetworkHandle,
    observer: PeersObserver,
    events: mpsc::Receiver<(Instant, PeerEvent)>,
    service: tokio::task::JoinHandle<()>,
}

impl Coordinator {
    async fn start(keypair: Keypair, listen: Multiaddr) -> Result<Self> {
        let mut config = NetworkConfig::new(keypair.clone(), Side::Coordinator);
        config.listen = vec![listen];
        config.limits = Limits {
            connections: 100_000,
            connections_per_address: 100_000,
            ..Limits::default()
        };
        let Network {
            handle,
            events,
            mut requests,
            service,
        } = start(config).await?;
        let addrs = handle.listen_addrs().await;
        let addr = addrs.first().context("no address to listen on")?.clone();
        let random = StdRng::from_rng(&mut edge::random_source());
        let mut peers = PeerManager::spawn(handle.clone(), events, PeerPolicy::default(), random);
        let observer = peers.observer();
        tokio::spawn(async move {
            while let Some(mut request) = requests.recv().await {
                if request.protocol == Protocol::Heartbeat && request.decode::<Heartbeat>().is_ok()
                {
                    request.respond::<Heartbeat>(heartbeat_answer()).await;
                }
            }
        });
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

    fn id(&self) -> PeerId {
        self.handle.local_peer_id()
    }

    fn place(&self) -> String {
        format!("{}/p2p/{}", self.addr, self.id())
    }

    async fn stop(self) {
        self.handle.shutdown().await;
        let _ = self.service.await;
    }

    /// When the event came that `wanted` recognises.
    async fn when(&mut self, wanted: impl Fn(&PeerEvent) -> bool) -> Result<Instant> {
        let found = async {
            while let Some((at, event)) = self.events.recv().await {
                if wanted(&event) {
                    return Ok(at);
                }
            }
            bail!("the peer network has stopped")
        };
        timeout(PATIENCE, found)
            .await
            .context("what is waited for does not happen")?
    }

    /// When each of so many peers has connected.
    async fn arrivals(&mut self, count: usize) -> Result<Vec<Instant>> {
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
        timeout(PATIENCE, all)
            .await
            .context("not all peers have come")??;
        Ok(times)
    }
}

fn heartbeat_answer() -> HeartbeatAnswer {
    HeartbeatAnswer {
        earned: MicroCredits::ZERO,
        server_time_ms: 0,
        state: "active".to_owned(),
        state_reason: String::new(),
        network_serial: 1,
        last_ledger_day: None,
    }
}

const REPORT: HeartbeatReport = HeartbeatReport {
    capacity_bytes: 1,
    used_bytes: 0,
    free_bytes: 1,
    blob_count: 0,
    activity: NodeActivity::Running,
};

impl NetworkPeers {
    /// Connects, beats, refuses blobs, until standard input ends.
    pub async fn run(self) -> Result<()> {
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
    let config = NetworkConfig::new(Keypair::generate_ed25519(), Side::Node);
    let Network {
        handle,
        events,
        mut requests,
        ..
    } = start(config).await?;
    let random = StdRng::from_rng(&mut edge::random_source());
    let mut peers = PeerManager::spawn(handle.clone(), events, PeerPolicy::default(), random);
    let peer = coordinator.peer_id;
    peers.set_targets(vec![Target {
        answers_only: true,
        ..coordinator
    }]);
    tokio::spawn(async move { while peers.next_event().await.is_some() {} });
    tokio::spawn(async move {
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
    });
    let mut random = StdRng::from_rng(&mut edge::random_source());
    tokio::spawn(async move {
        sleep(HEARTBEAT_EVERY.mul_f64(random.random())).await;
        loop {
            let _ = handle.call::<Heartbeat>(peer, REPORT).await;
            sleep(HEARTBEAT_EVERY).await;
        }
    });
    Ok(())
}

/// A process with peers, killed when it is dropped.
struct PeerProcess(Child);

impl PeerProcess {
    fn start(place: &str, count: usize) -> Result<Self> {
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

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.0);
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect_once(coordinator: &Coordinator) -> Result<(Network, Duration)> {
    let config = NetworkConfig::new(Keypair::generate_ed25519(), Side::Node);
    let mut network = start(config).await?;
    let began = Instant::now();
    let addrs = vec![coordinator.addr.clone()];
    network.handle.dial(coordinator.id(), addrs).await;
    let connected = async {
        while let Some(event) = network.events.recv().await {
            match event {
                network::NetworkEvent::Connected { .. } => return Ok(began.elapsed()),
                network::NetworkEvent::DialFailed { error, .. } => bail!("a dial failed: {error}"),
                _ => {}
            }
        }
        bail!("the peer network has stopped")
    };
    let took = timeout(PATIENCE, connected).await??;
    Ok((network, took))
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

async fn set_up(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..100 {
        let (network, took) = connect_once(coordinator).await?;
        times.push(took);
        network.handle.shutdown().await;
    }
    let median = percentile(&sorted(times), 50);
    note(Line {
        what: "connection set-up, median of 100",
        limit: "< 100 ms",
        reached: ms(median),
        good: median < Duration::from_millis(100),
    });
    Ok(())
}

async fn storm(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let dials = (0..200).map(|_| connect_once(coordinator));
    let times = futures::future::try_join_all(dials).await?;
    let mut worst = Duration::ZERO;
    for (network, took) in times {
        worst = worst.max(took);
        network.handle.shutdown().await;
    }
    note(Line {
        what: "connection set-up, worst of a storm of 200",
        limit: "< 5 s",
        reached: ms(worst),
        good: worst < Duration::from_secs(5),
    });
    Ok(())
}

async fn heartbeats(node: &NetworkHandle, to: PeerId, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        node.call::<Heartbeat>(to, REPORT).await?;
        times.push(began.elapsed());
    }
    Ok(sorted(times))
}

async fn round_trips(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let (mut network, _) = connect_once(coordinator).await?;
    let node = network.handle.clone();
    let (id, to) = (node.local_peer_id(), coordinator.id());
    tokio::spawn(async move { while network.events.recv().await.is_some() {} });
    tokio::spawn(async move {
        while let Some(mut request) = network.requests.recv().await {
            if request.decode::<Store>().is_ok() {
                let code = RefusalCode::Full;
                let detail = String::new();
                let answer = StoreAnswer::Refused(Refusal { code, detail });
                request.respond::<Store>(answer).await;
            }
        }
    });
    heartbeats(&node, to, 100).await?;
    let idle = percentile(&heartbeats(&node, to, 1000).await?, 50);
    note(Line {
        what: "small request, median when idle",
        limit: "< 2 ms",
        reached: ms(idle),
        good: idle < Duration::from_millis(2),
    });
    let data = bytes::Bytes::from(vec![7; CHUNK]);
    let request = StoreRequest {
        blob_id: BlobId::of(&data),
        locator: Locator::from_bytes([0; Locator::LEN]),
        data,
    };
    let flows: Vec<_> = (0..8)
        .map(|_| {
            let (handle, request) = (coordinator.handle.clone(), request.clone());
            tokio::spawn(
                async move { while handle.call::<Store>(id, request.clone()).await.is_ok() {} },
            )
        })
        .collect();
    let busy = heartbeats(&node, to, 1000).await?;
    flows.iter().for_each(tokio::task::JoinHandle::abort);
    let p99 = percentile(&busy, 99);
    note(Line {
        what: "small request, p99 while 256 KiB chunks flow to the peer",
        limit: "< 50 ms",
        reached: ms(p99),
        good: p99 < Duration::from_millis(50),
    });
    node.shutdown().await;
    Ok(())
}

async fn failures(note: &mut impl FnMut(Line)) -> Result<()> {
    let mut coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
    let lost = |event: &PeerEvent| matches!(event, PeerEvent::Disconnected { .. });
    let silent = |event: &PeerEvent| matches!(event, PeerEvent::Unresponsive { .. });

    let peer = PeerProcess::start(&coordinator.place(), 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    drop(peer); // SIGKILL
    let noticed = coordinator.when(lost).await?.duration_since(began);
    note(Line {
        what: "dead peer (SIGKILL) noticed",
        limit: "< 2 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(2),
    });

    let peer = PeerProcess::start(&coordinator.place(), 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    peer.signal(Signal::STOP)?;
    let noticed = coordinator.when(silent).await?.duration_since(began);
    note(Line {
        what: "paused peer (SIGSTOP) noticed",
        limit: "< 20 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(20),
    });
    peer.signal(Signal::CONT)?;
    drop(peer);

    let mut coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
    let proxy = TcpProxy::start(socket_of(&coordinator.addr)?).await?;
    let place = format!(
        "/ip4/127.0.0.1/tcp/{}/p2p/{}",
        proxy.addr().port(),
        coordinator.id()
    );
    let _peer = PeerProcess::start(&place, 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    let noticed = coordinator.when(silent).await?.duration_since(began);
    note(Line {
        what: "silent packet loss noticed",
        limit: "< 30 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(30),
    });
    coordinator.stop().await;
    Ok(())
}

fn socket_of(addr: &Multiaddr) -> Result<SocketAddr> {
    let port = addr.iter().find_map(|part| match part {
        multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    Ok(SocketAddr::from(([127, 0, 0, 1], port.context("no port")?)))
}

async fn return_of_the_fleet(count: usize, note: &mut impl FnMut(Line)) -> Result<()> {
    let mut coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
    let _peers = PeerProcess::start(&coordinator.place(), count)?;
    coordinator.arrivals(count).await?;
    sleep(Duration::from_secs(6)).await; // connections that have settled
    let (keypair, addr) = (coordinator.keypair.clone(), coordinator.addr.clone());
    coordinator.stop().await;
    let mut coordinator = Coordinator::start(keypair, addr).await?;
    let began = Instant::now();
    let times = coordinator.arrivals(count).await?;
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last = Duration::ZERO;
    for time in times {
        let after = time.saturating_duration_since(began);
        *seconds.entry(after.as_secs()).or_default() += 1;
        last = last.max(after);
    }
    note(Line {
        what: "all peers back after a restart of the coordinator",
        limit: "< 60 s",
        reached: format!("{:.1} s ({count} peers)", last.as_secs_f64()),
        good: last < Duration::from_secs(60),
    });
    let most = seconds.values().copied().max().unwrap_or_default() * 100 / count.max(1);
    note(Line {
        what: "most of them in one second",
        limit: "≤ 20 %",
        reached: format!("{most} %"),
        good: most <= 20,
    });
    coordinator.stop().await;
    Ok(())
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .context("/proc/self/statm is short")?;
    Ok(pages.parse::<u64>()? * 4096)
}

async fn idle_cost(count: usize, watch: Duration, note: &mut impl FnMut(Line)) -> Result<()> {
    const PROCESSES: usize = 4;
    let mut coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
    let before = resident_bytes()?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(PeerProcess::start(&coordinator.place(), count / PROCESSES)?);
    }
    let count = count / PROCESSES * PROCESSES;
    coordinator.arrivals(count).await?;
    sleep(Duration::from_secs(10)).await;
    let this = ProcessId::of(std::process::id()).context("cannot read /proc")?;
    let cpu = this.cpu_seconds().context("cannot read /proc")?;
    sleep(watch).await;
    let cpu = this.cpu_seconds().context("cannot read /proc")? - cpu;
    let connected = coordinator.observer.view().await;
    let connected = connected
        .iter()
        .filter(|view| view.responsive && view.connections == 1);
    ensure!(
        connected.count() == count,
        "not all of {count} idle peers have stayed connected"
    );
    let memory = resident_bytes()?.saturating_sub(before) / count as u64;
    note(Line {
        what: "memory of the coordinator for each idle peer",
        limit: "< 600 KiB",
        reached: format!("{:.0} KiB ({count} peers)", memory as f64 / 1024.0),
        good: memory < 600 * 1024,
    });
    let share = cpu / watch.as_secs_f64() * 100.0;
    note(Line {
        what: "processor time of the coordinator, all of them together",
        limit: "< 5 % of a core",
        reached: format!("{share:.1} %"),
        good: share < 5.0,
    });
    drop(processes);
    coordinator.stop().await;

    // Payload is counted by a proxy: a socket's bytes, without the headers of TCP and IP.
    const MEASURED: usize = 20;
    let mut coordinator = Coordinator::start(Keypair::generate_ed25519(), any_port()).await?;
    let proxy = TcpProxy::start(socket_of(&coordinator.addr)?).await?;
    let place = format!(
        "/ip4/127.0.0.1/tcp/{}/p2p/{}",
        proxy.addr().port(),
        coordinator.id()
    );
    let _process = PeerProcess::start(&place, MEASURED)?;
    coordinator.arrivals(MEASURED).await?;
    sleep(Duration::from_secs(6)).await;
    let before = proxy.bytes();
    sleep(watch).await;
    let rate = (proxy.bytes() - before) as f64 / watch.as_secs_f64() / MEASURED as f64;
    note(Line {
        what: "traffic of an idle peer, both directions, without TCP/IP headers",
        limit: "< 1 KB/s",
        reached: format!("{rate:.0} B/s"),
        good: rate < 1000.0,
    });
    coordinator.stop().await;
    Ok(())
}
