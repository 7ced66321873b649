//! The event loop. It owns the swarm, never awaits anything but the swarm, commands and room in
//! the events channel, and decides nothing.
//!
//! Connection events are never lost: while their reader is behind they queue here, and when that
//! queue is full the swarm rests until there is room again; commands are still taken meanwhile.
//! Inbound requests, which their senders repeat, are dropped when nobody takes them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::{NegotiationError, Version};
use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::request_response::{self, InboundRequestId, OutboundFailure, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, ping};
use proto::Protocol;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::behaviour::{Behaviour, BehaviourEvent, RequestResponseEvent};
use crate::config::NetworkConfig;
use crate::event::{DisconnectReason, InboundRequest, NetworkEvent};
use crate::handle::{CallError, Command, NetworkHandle};
use crate::transport;

const COMMAND_QUEUE: usize = 1024;
const EVENT_QUEUE: usize = 256;
const REQUEST_QUEUE: usize = 1024;
/// Events kept for a reader that is behind before the swarm rests.
const EVENT_BACKLOG: usize = 4096;

/// Connections live until someone closes them; liveness is the peer policy's business.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long answers, and then closing frames, may take to leave at the end.
const FAREWELL: Duration = Duration::from_secs(1);

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
    #[error("cannot listen on {addr}: {reason}")]
    Listen { addr: Multiaddr, reason: String },
}

/// Starts the event loop and returns once every listen address is bound.
pub async fn start(config: NetworkConfig) -> Result<Network, StartError> {
    let handshakes = Arc::default();
    let transport = transport::build(&config.keypair, &handshakes)
        .map_err(|error| StartError::Transport(error.to_string()))?;
    let local_peer_id = config.keypair.public().to_peer_id();
    let swarm = Swarm::new(
        transport,
        Behaviour::new(&config),
        local_peer_id,
        // Lazy: a request follows its protocol's name at once. The bytes are those of V1.
        libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_substream_upgrade_protocol_override(Version::V1Lazy),
    );

    let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE);
    let handle = NetworkHandle::new(
        local_peer_id,
        command_sender.clone(),
        config.data_calls_per_peer,
        handshakes,
    );
    let mut service = NetworkService {
        swarm,
        commands,
        events: event_sender.clone(),
        backlog: VecDeque::new(),
        requests: request_sender,
        calls: HashMap::new(),
        dials: HashMap::new(),
        answer_commands: command_sender,
        answers_leaving: HashSet::new(),
        handle: handle.clone(),
    };
    for addr in &config.listen {
        service.listen(addr).await?;
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

type Reply = oneshot::Sender<Result<Bytes, CallError>>;

struct NetworkService {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    /// For measurements that may be lost; everything else goes through the backlog.
    events: mpsc::Sender<NetworkEvent>,
    backlog: VecDeque<NetworkEvent>,
    requests: mpsc::Sender<InboundRequest>,
    calls: HashMap<(Protocol, OutboundRequestId), (Reply, OwnedSemaphorePermit)>,
    /// Addresses of the dials under way at which nobody else has answered yet.
    dials: HashMap<PeerId, Vec<Multiaddr>>,
    /// For answers to inbound requests, which come back as commands.
    answer_commands: mpsc::Sender<Command>,
    /// Answers that were handed to the swarm and have not left yet.
    answers_leaving: HashSet<(Protocol, InboundRequestId)>,
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
                    Some(Command::Shutdown) | None => return self.close().await,
                    Some(command) => self.execute(command),
                },
                event = self.swarm.select_next_some(), if self.backlog.len() < EVENT_BACKLOG => {
                    self.handle_swarm_event(event);
                }
            }
        }
    }

    async fn close(mut self) {
        // Answers that were given are to arrive: what they acknowledge has been done.
        let left = async {
            while !self.answers_leaving.is_empty() {
                let event = self.swarm.select_next_some().await;
                self.handle_swarm_event(event);
            }
        };
        let _ = tokio::time::timeout(FAREWELL, left).await;
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
        let _ = tokio::time::timeout(FAREWELL, drained).await;
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Call {
                peer,
                protocol,
                frame,
                reply,
                slot,
            } => {
                // Without this, request-response would dial; whom to dial is the policy's business.
                if !self.swarm.is_connected(&peer) {
                    self.handle.forget_peer(&peer);
                    let _ = reply.send(Err(CallError::NotConnected));
                    return;
                }
                let behaviour = self.swarm.behaviour_mut().rpc.of(protocol);
                let id = behaviour.send_request(&peer, frame);
                self.calls.insert((protocol, id), (reply, slot));
            }
            Command::Respond {
                protocol,
                id,
                channel,
                frame,
            } => {
                let behaviour = self.swarm.behaviour_mut().rpc.of(protocol);
                if behaviour.send_response(channel, frame).is_ok() {
                    self.answers_leaving.insert((protocol, id));
                } else {
                    tracing::debug!(?protocol, "an answer came too late: its stream is gone");
                }
            }
            Command::Dial { peer, addrs } => self.dial(peer, addrs),
            Command::Disconnect { peer } => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::ListenAddrs { reply } => {
                let _ = reply.send(self.swarm.listeners().cloned().collect());
            }
            Command::Shutdown => {}
        }
    }

    fn dial(&mut self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .addresses(addrs.clone())
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(peer, addrs);
            }
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.tell(NetworkEvent::DialFailed {
                peer,
                error: root_cause(&error),
            }),
        }
    }

    /// libp2p gives up a dial once anyone answers at one of its addresses, even the wrong peer. An
    /// address that now belongs to another must not hide those that are still right.
    fn handle_failed_dial(&mut self, peer: PeerId, error: &DialError) {
        let mut rest = self.dials.remove(&peer).unwrap_or_default();
        if let DialError::WrongPeerId { address, .. } = error {
            let tried = rest.len();
            rest.retain(|addr| !same_place(addr, address));
            if (1..tried).contains(&rest.len()) {
                return self.dial(peer, rest);
            }
        }
        self.tell(NetworkEvent::DialFailed {
            peer,
            error: root_cause(error),
        });
    }

    fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Rpc(event)) => {
                let (protocol, event) = event.split();
                self.handle_rpc_event(protocol, event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result, .. })) => {
                // A measurement nobody has room for is not worth keeping.
                if let (Ok(rtt), true) = (result, self.backlog.is_empty()) {
                    let _ = self.events.try_send(NetworkEvent::Ping { peer, rtt });
                }
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                endpoint,
                num_established,
                ..
            } => {
                tracing::debug!(peer = %peer_id, addr = %endpoint.get_remote_address(), "connected");
                if endpoint.is_dialer() {
                    self.dials.remove(&peer_id);
                }
                if num_established.get() == 1 {
                    self.tell(NetworkEvent::Connected {
                        peer: peer_id,
                        addr: endpoint.get_remote_address().clone(),
                    });
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                self.handle.forget_peer(&peer_id);
                let reason = cause.map_or(DisconnectReason::Closed, |error| {
                    DisconnectReason::Error(root_cause(&error))
                });
                tracing::debug!(peer = %peer_id, ?reason, "disconnected");
                self.tell(NetworkEvent::Disconnected {
                    peer: peer_id,
                    reason,
                });
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => self.handle_failed_dial(peer, &error),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                tracing::debug!(addr = %send_back_addr, error = root_cause(&error), "refused a connection");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening for peers");
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::error!(?addresses, ?reason, "a listener for peers has closed");
            }
            _ => {}
        }
    }

    fn handle_rpc_event(&mut self, protocol: Protocol, event: RequestResponseEvent) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request {
                    request_id,
                    request,
                    channel,
                } => {
                    let commands = self.answer_commands.clone();
                    let request =
                        InboundRequest::new(peer, protocol, request_id, request, channel, commands);
                    if self.requests.try_send(request).is_err() {
                        tracing::warn!(%peer, ?protocol, "dropped a request: too many are waiting");
                    }
                }
                request_response::Message::Response {
                    request_id,
                    response,
                } => self.settle(protocol, request_id, Ok(response.head)),
            },
            request_response::Event::OutboundFailure {
                request_id, error, ..
            } => {
                let error = match error {
                    OutboundFailure::DialFailure => CallError::NotConnected,
                    OutboundFailure::UnsupportedProtocols => CallError::Unsupported,
                    OutboundFailure::Timeout => CallError::Timeout,
                    OutboundFailure::ConnectionClosed => CallError::ConnectionLost,
                    OutboundFailure::Io(error) if is_refused(&error) => CallError::Unsupported,
                    OutboundFailure::Io(error) => CallError::Io(error.to_string()),
                };
                self.settle(protocol, request_id, Err(error));
            }
            request_response::Event::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.answers_leaving.remove(&(protocol, request_id));
                tracing::debug!(%peer, ?protocol, %error, "an inbound exchange failed");
            }
            request_response::Event::ResponseSent { request_id, .. } => {
                self.answers_leaving.remove(&(protocol, request_id));
            }
        }
    }

    fn settle(
        &mut self,
        protocol: Protocol,
        id: OutboundRequestId,
        outcome: Result<Bytes, CallError>,
    ) {
        if let Some((reply, _slot)) = self.calls.remove(&(protocol, id)) {
            let _ = reply.send(outcome); // whoever asked may have given up
        }
    }

    fn tell(&mut self, event: NetworkEvent) {
        self.backlog.push_back(event);
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

/// Whether a stream ended because the peer does not speak its protocol.
fn is_refused(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(NegotiationError::Failed))
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
