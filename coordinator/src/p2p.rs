//! From network events to use-cases and back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use network::{
    Discovery, InboundRequest, Kademlia, KademliaMode, Limits, Multiaddr, NetworkConfig, PeerEvent,
    PeerPolicy, Peers, PingConfig, multiaddr,
};
use proto::{Heartbeat, Hello, PeerId, ReportLoss, Roles, protocols};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::fleet::admission::{NodeAdmission, RegisteredPeers};
use crate::fleet::{Nodes, registration};
use crate::keys::KeyRing;
use crate::proofs::{Proofs, audit};

/// Requests of nodes that are worked on at one time; more wait in the network's queue.
const AT_ONE_TIME: usize = 64;

/// Addresses of one coordinator that a network document takes.
const MAX_ANNOUNCED: usize = 32;

pub fn network_config(
    config: &Config,
    keys: &KeyRing,
    registered: Arc<RegisteredPeers>,
    known_addresses: Vec<IpAddr>,
) -> anyhow::Result<NetworkConfig> {
    let p2p = &config.p2p;
    let defaults = NetworkConfig::new(
        keys.identity.clone(),
        protocols::FAMILY,
        &protocols::TABLE,
        Roles::COORDINATOR,
    );
    Ok(NetworkConfig {
        answers_only: true,
        known_addresses,
        listen: p2p.listen()?,
        external_addrs: p2p.external_addrs()?,
        agent: concat!("coordinator/", env!("CARGO_PKG_VERSION")).to_owned(),
        ping: PingConfig {
            interval: config.ping.interval,
            timeout: config.ping.timeout,
        },
        admission: Arc::new(NodeAdmission(registered)),
        limits: Limits {
            connections: p2p.max_connections,
            connections_per_address: p2p.max_connections_per_address,
            pending_incoming: p2p.max_pending,
            memory_bytes: p2p.max_memory.map(|memory| memory.as_u64() as usize),
            ..defaults.limits
        },
        discovery: Discovery {
            kademlia: p2p.kademlia.then(|| Kademlia {
                network: keys.network_id.to_string(),
                mode: KademliaMode::Server,
            }),
            mdns: p2p.mdns,
            autonat: p2p.autonat,
            private_addresses: p2p.private_addresses,
            upnp: p2p.upnp,
        },
        ..defaults
    })
}

/// Coordinators dial nobody, but for the moment that a reachability test takes.
pub fn peer_policy(config: &Config) -> PeerPolicy {
    PeerPolicy {
        ping_interval: config.ping.interval,
        ping_failures: config.ping.failures,
        visit: std::time::Duration::from_secs(10),
        ..PeerPolicy::default()
    }
}

/// What goes into the network document: the external addresses, or else what is listened on.
pub fn announced(config: &Config, listening: &[Multiaddr]) -> Vec<String> {
    let external = &config.p2p.external_addrs;
    if !external.is_empty() {
        return external.clone();
    }
    let wildcard = |addr: &String| addr.contains("/0.0.0.0/") || addr.contains("/ip6/::/");
    if config.p2p.listen.iter().any(wildcard) {
        tracing::warn!(
            addresses = ?listening,
            "p2p.external_addrs is empty and p2p.listen stands for all interfaces: nodes are told \
             the addresses of this machine, which they may not reach. Set p2p.external_addrs"
        );
    }
    let announced = listening.iter().take(MAX_ANNOUNCED);
    announced.map(ToString::to_string).collect()
}

/// Where peers are connected from.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<RwLock<HashMap<PeerId, IpAddr>>>);

impl Addresses {
    fn of(&self, peer: &PeerId) -> Option<IpAddr> {
        let addresses = self.0.read().unwrap_or_else(PoisonError::into_inner);
        addresses.get(peer).copied()
    }

    fn set(&self, peer: PeerId, addr: &Multiaddr) {
        let ip = addr.iter().find_map(|part| match part {
            multiaddr::Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            multiaddr::Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
            _ => None,
        });
        let mut addresses = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ip {
            Some(ip) => addresses.insert(peer, ip),
            None => addresses.remove(&peer),
        };
    }

    fn forget(&self, peer: &PeerId) {
        let mut addresses = self.0.write().unwrap_or_else(PoisonError::into_inner);
        addresses.remove(peer);
    }
}

/// Serves nodes until the network stops.
pub async fn serve(
    nodes: Arc<Nodes>,
    proofs: Arc<Proofs>,
    mut peers: Peers,
    requests: mpsc::Receiver<InboundRequest>,
) {
    let addresses = Addresses::default();
    let serving = tokio::spawn(serve_requests(
        Arc::clone(&nodes),
        proofs,
        addresses.clone(),
        requests,
    ));
    while let Some(event) = peers.next_event().await {
        match event {
            PeerEvent::Connected { peer, addr } => addresses.set(peer, &addr),
            PeerEvent::Disconnected { peer, reason } => {
                addresses.forget(&peer);
                if let Some(node_id) = nodes.fleet.lose_peer(&peer) {
                    tracing::info!(%node_id, %peer, ?reason, "the connection to a node is gone");
                    nodes.connections_wake.wake();
                }
            }
            PeerEvent::Unresponsive { peer, silent_for } => {
                nodes.metrics.unresponsive_peers.inc();
                if let Some(member) = nodes.fleet.member_of_peer(&peer) {
                    tracing::warn!(node_id = %member.node_id, %peer, ?silent_for, "a node is unresponsive");
                }
                // Its next heartbeat lets it in again.
                nodes.fleet.remove_peer(&peer);
            }
            PeerEvent::Recovered { .. } | PeerEvent::Failed { .. } => {}
            PeerEvent::Ping { peer, rtt } => {
                nodes.metrics.peer_rtt_seconds.observe(rtt.as_secs_f64());
                if let Some(member) = nodes.fleet.member_of_peer(&peer) {
                    member.note_ping(rtt);
                }
            }
        }
    }
    if let Err(error) = serving.await {
        tracing::error!(%error, "serving nodes ended badly");
    }
}

async fn serve_requests(
    nodes: Arc<Nodes>,
    proofs: Arc<Proofs>,
    addresses: Addresses,
    mut requests: mpsc::Receiver<InboundRequest>,
) {
    let (slots, tasks) = (Arc::new(Semaphore::new(AT_ONE_TIME)), TaskTracker::new());
    while let Some(request) = requests.recv().await {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let (nodes, proofs) = (Arc::clone(&nodes), Arc::clone(&proofs));
        let from = addresses.of(&request.peer);
        tasks.spawn(async move {
            answer(&nodes, &proofs, from, request).await;
            drop(slot);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// A request that cannot be answered is dropped: its sender sees the stream end and asks again.
async fn answer(nodes: &Nodes, proofs: &Proofs, from: Option<IpAddr>, mut request: InboundRequest) {
    let (peer, protocol) = (request.peer, request.protocol);
    let refused = match protocol {
        protocols::HELLO => match request.decode::<Hello>() {
            Ok(report) => match registration::hello(nodes, peer, from, report).await {
                Ok(answer) => {
                    if let Some(reason) = &answer.rejection {
                        tracing::info!(%peer, reason, "refused a node");
                    }
                    return request.respond::<Hello>(answer).await;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        protocols::HEARTBEAT => match request.decode::<Heartbeat>() {
            Ok(report) => match registration::heartbeat(nodes, peer, from, report).await {
                Ok(Some(answer)) => return request.respond::<Heartbeat>(answer).await,
                Ok(None) => "the peer is not a registered node".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        protocols::REPORT_LOSS => match request.decode::<ReportLoss>() {
            Ok(report) => match audit::take_loss_report(proofs, peer, &report, proofs.clock.now())
                .await
            {
                Ok(Some(noted)) => return request.respond::<ReportLoss>(noted).await,
                Ok(None) => "the node is no member, has a report under way, or restore mode stands"
                    .to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        other => format!("{other} is not served by coordinators"),
    };
    tracing::warn!(%peer, %protocol, reason = refused, "left a node's request unanswered");
}
