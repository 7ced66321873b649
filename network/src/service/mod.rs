//! The event loop. It owns the swarm, never awaits anything but the swarm, commands and room in
//! the events channel, and decides nothing.
//!
//! Connection events are never lost: while their reader is behind they queue here, and when that
//! queue is full the swarm rests until there is room again; commands are still taken meanwhile.
//! Inbound requests, which their senders repeat, are dropped when nobody takes them; neither they nor their
//! answers pass through here.

mod commands;
mod discovery;
mod events;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use proto::ProtocolSpec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::admission::pending::{KnownAddresses, Pending};
use crate::admission::{AddressBlock, Admitted, handshake, pending};
use crate::behaviour::{self, Behaviour};
use crate::config::NetworkConfig;
use crate::event::{InboundRequest, NetworkEvent};
use crate::exchange::Shared;
use crate::handle::{Command, NetworkHandle};
use crate::hearsay::Hearsay;
use crate::status::{Probe, Upnp};
use crate::transport;

use self::events::RefusalLog;

const COMMAND_QUEUE: usize = 1024;
const EVENT_QUEUE: usize = 256;
const REQUEST_QUEUE: usize = 1024;
/// Events kept for a reader that is behind before the swarm rests.
const EVENT_BACKLOG: usize = 4096;

/// How long answers, and then closing frames, may take to leave at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// With nothing new for this long, all interfaces have told their addresses.
const SETTLED: Duration = Duration::from_millis(50);

/// A running network service.
pub struct Network {
    pub handle: NetworkHandle,
    pub events: mpsc::Receiver<NetworkEvent>,
    pub requests: mpsc::Receiver<InboundRequest>,
    /// Ends after [`NetworkHandle::shutdown`].
    pub service: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the peer network cannot start: {0}")]
    Transport(String),
    #[error("the table of protocols has {0}, which cannot be negotiated")]
    Protocol(String),
    #[error("cannot listen on {addr}: {reason}")]
    Listen { addr: Multiaddr, reason: String },
}

/// Starts the event loop and returns once every listen address is bound.
pub async fn start(config: NetworkConfig) -> Result<Network, StartError> {
    let served = served(&config)?;
    let (handshakes, admitted) = (Arc::default(), Arc::<Admitted>::default());
    let transport = transport::build(&config.keypair, &handshakes)
        .map_err(|error| StartError::Transport(error.to_string()))?;
    let local_peer_id = config.keypair.public().to_peer_id();
    let known = Arc::<KnownAddresses>::default();
    for ip in &config.known_addresses {
        known.note(AddressBlock::of_ip(*ip));
    }
    let limits = &config.limits;
    let pending = Pending::new(
        limits.pending_per_address,
        limits.pending_incoming,
        Arc::clone(&known),
    );
    let transport = handshake::admitting(
        transport,
        local_peer_id,
        Arc::clone(&config.admission),
        Arc::clone(&admitted),
        known,
    );
    let transport = pending::bounded(transport, Arc::new(pending));
    let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE);
    let handle = NetworkHandle::new(
        local_peer_id,
        command_sender,
        config.data_calls_per_peer,
        handshakes,
    );
    let answers = TaskTracker::new();
    let shared = Shared {
        served,
        answers_only: config.answers_only,
        admission: Arc::clone(&config.admission),
        admitted,
        requests: request_sender,
        answers: answers.clone(),
        signs: Arc::clone(handle.signs()),
    };
    let swarm = Swarm::new(
        transport,
        Behaviour::new(&config, shared, random_source()),
        local_peer_id,
        // Lazy: a request follows its protocol's name at once. The bytes are those of V1.
        libp2p::swarm::Config::with_tokio_executor()
            .with_substream_upgrade_protocol_override(Version::V1Lazy),
    );
    let mut service = NetworkService {
        swarm,
        commands,
        events: event_sender.clone(),
        backlog: VecDeque::new(),
        dials: HashMap::new(),
        answers,
        hearsay: behaviour::hearsay(&config.discovery),
        probes: Vec::new(),
        upnp: Upnp::default(),
        refusal_log: RefusalLog::default(),
        handle: handle.clone(),
    };
    for addr in &config.listen {
        service.listen(addr).await?;
    }
    if config.listen.iter().any(is_wildcard) {
        service.collect_addresses().await;
    }
    for addr in &config.external_addrs {
        service.swarm.add_external_address(addr.clone());
    }
    Ok(Network {
        handle,
        events,
        requests,
        service: tokio::spawn(service.run(event_sender)),
    })
}

/// What of the table is served in our roles. Of two protocols with one name only the first would ever be asked.
fn served(config: &NetworkConfig) -> Result<Arc<[ProtocolSpec]>, StartError> {
    let mut names = HashSet::new();
    for protocol in &config.protocols {
        if !protocol.name.starts_with('/') {
            return Err(StartError::Protocol(format!("the name `{protocol}`")));
        }
        if !names.insert(protocol.name) {
            return Err(StartError::Protocol(format!("`{protocol}` twice")));
        }
    }
    let served = config.protocols.iter().copied();
    Ok(served
        .filter(|protocol| protocol.server.intersects(config.roles))
        .collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "what pings carry is random; nothing is decided by it"
)]
fn random_source() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

struct NetworkService {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    /// For measurements that may be lost; everything else goes through the backlog.
    events: mpsc::Sender<NetworkEvent>,
    backlog: VecDeque<NetworkEvent>,
    /// Addresses of the dials under way at which nobody else has answered yet.
    dials: HashMap<PeerId, (ConnectionId, Vec<Multiaddr>)>,
    /// Answers that were given and have not left yet.
    answers: TaskTracker,
    hearsay: Hearsay,
    probes: Vec<Probe>,
    upnp: Upnp,
    refusal_log: RefusalLog,
    handle: NetworkHandle,
}

impl NetworkService {
    /// Binds one address and waits for the outcome. Peers may come in by an earlier one meanwhile.
    async fn listen(&mut self, addr: &Multiaddr) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Listen {
            addr: addr.clone(),
            reason,
        };
        transport::refuse_taken_port(addr).map_err(|error| failed(error.to_string()))?;
        let wanted: ListenerId = self
            .swarm
            .listen_on(addr.clone())
            .map_err(|error| failed(root_cause(&error)))?;
        loop {
            match self.swarm.select_next_some().await {
                event @ SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == wanted => {
                    self.handle_swarm_event(event);
                    return Ok(());
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } if listener_id == wanted => {
                    let reason = reason
                        .err()
                        .map_or_else(|| "closed".into(), |e| e.to_string());
                    return Err(failed(reason));
                }
                SwarmEvent::ListenerError { listener_id, error } if listener_id == wanted => {
                    return Err(failed(error.to_string()));
                }
                event => self.handle_swarm_event(event),
            }
        }
    }

    /// A wildcard stands for the addresses of all interfaces, which are told one by one.
    async fn collect_addresses(&mut self) {
        let collected = async {
            while let Ok(event) = timeout(SETTLED, self.swarm.select_next_some()).await {
                self.handle_swarm_event(event);
            }
        };
        let _ = timeout(10 * SETTLED, Box::pin(collected)).await;
    }

    async fn run(mut self, events: mpsc::Sender<NetworkEvent>) {
        loop {
            tokio::select! {
                permit = events.reserve(), if !self.backlog.is_empty() => {
                    match (permit, self.backlog.pop_front()) {
                        (Ok(permit), Some(event)) => permit.send(event),
                        _ => self.backlog.clear(), // nobody listens any more
                    }
                }
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown) | None => return Box::pin(self.close()).await,
                    Some(command) => self.execute(command),
                },
                event = self.swarm.select_next_some(), if self.backlog.len() < EVENT_BACKLOG => {
                    self.handle_swarm_event(event);
                }
            }
        }
    }

    async fn close(mut self) {
        self.commands.close();
        // Answers that were given are to arrive: what they acknowledge has been done.
        self.answers.close();
        let answers = self.answers.clone();
        let left = async {
            tokio::select! {
                () = answers.wait() => {}
                () = self.carry_on() => {}
            }
        };
        let _ = timeout(FAREWELL, left).await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        // Lets the closing frames leave; peers that do not answer are cut by the drop.
        let drained = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(FAREWELL, drained).await;
    }

    async fn carry_on(&mut self) {
        loop {
            let event = self.swarm.select_next_some().await;
            self.handle_swarm_event(event);
        }
    }

    fn tell(&mut self, event: NetworkEvent) {
        self.backlog.push_back(event);
    }
}

/// Whether it stands for all interfaces of the machine.
fn is_wildcard(addr: &Multiaddr) -> bool {
    match addr.iter().next() {
        Some(AddrPart::Ip4(ip)) => ip.is_unspecified(),
        Some(AddrPart::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

/// The innermost error, which is the one that says something to an operator.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether two addresses differ in nothing but the peer that they name.
fn same_place(one: &Multiaddr, other: &Multiaddr) -> bool {
    let place = |addr: &Multiaddr| {
        let parts = addr.iter();
        parts
            .filter(|part| !matches!(part, AddrPart::P2p(_)))
            .collect::<Multiaddr>()
    };
    place(one) == place(other)
}
