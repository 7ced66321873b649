//! The swarm's behaviours. Those that refuse connections stand first, so that nothing else has
//! allocated for a connection that is not to be.

use std::sync::Arc;
use std::time::Duration;

use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, StreamProtocol, autonat, connection_limits, identify, kad, mdns,
    memory_connection_limits, upnp,
};
use proto::{Lane, Protocol, Side};
use rand::rngs::StdRng;

use crate::codec::FrameCodec;
use crate::config::{Kademlia, KademliaMode, Limits, NetworkConfig};
use crate::gate::Gate;
use crate::ping;

/// What identify tells about the family of protocols.
const PROTOCOL_FAMILY: &str = "/federated-storage/1.0.0";

const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const DATA_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that one connection may have open with us at one time, per protocol.
pub(crate) const INBOUND_STREAMS: usize = 64;

/// Of the machine's memory, where no other limit is set.
const MEMORY_SHARE: f64 = 0.9;

/// How long one walk through the Kademlia table may take.
const WALK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    gate: Gate,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(crate) rpc: RpcBehaviour,
    pub(crate) ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(crate) kademlia: Toggle<kad::Behaviour<MemoryStore>>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    autonat: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
}

pub(crate) type RequestResponse = request_response::Behaviour<FrameCodec>;
pub(crate) type RequestResponseEvent = request_response::Event<proto::Frame, proto::Frame>;

/// One request-response behaviour for each protocol: a single one for all would offer the whole
/// list on every stream and let the other side pick.
#[derive(NetworkBehaviour)]
pub(crate) struct RpcBehaviour {
    hello: RequestResponse,
    heartbeat: RequestResponse,
    report_loss: RequestResponse,
    store_chunk: RequestResponse,
    retrieve_chunk: RequestResponse,
    delete_chunk: RequestResponse,
    proof_challenge: RequestResponse,
    inventory: RequestResponse,
}

impl Behaviour {
    pub(crate) fn new(config: &NetworkConfig, random: StdRng) -> Self {
        let local = config.keypair.public().to_peer_id();
        let limits = &config.limits;
        let identify = identify::Config::new(PROTOCOL_FAMILY.to_owned(), config.keypair.public())
            .with_agent_version(config.agent.clone())
            // Whoever was told where a peer is reached is not to find a way around it, such as past a
            // relay that meters or filters.
            .with_hide_listen_addrs(!config.external_addrs.is_empty())
            .with_cache_size(0); // addresses are kept where policy can see them
        let discovery = &config.discovery;
        let autonat = discovery.autonat;
        Self {
            gate: Gate::new(
                config.side,
                Arc::clone(&config.gatekeeper),
                limits.connections_per_address,
            ),
            limits: connection_limits::Behaviour::new(connection_limits(limits)),
            memory: match limits.memory_bytes {
                Some(bytes) => memory_connection_limits::Behaviour::with_max_bytes(bytes),
                None => memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE),
            },
            rpc: RpcBehaviour::new(config.side),
            ping: ping::Behaviour::new(config.ping, random),
            identify: identify::Behaviour::new(identify),
            kademlia: discovery
                .kademlia
                .as_ref()
                .and_then(|kademlia| walker(local, kademlia))
                .into(),
            mdns: discovery.mdns.then(|| multicast(local)).flatten().into(),
            // Coordinators are reachable or useless; they answer, and need not ask.
            autonat: (autonat && config.side == Side::Node)
                .then(autonat::v2::client::Behaviour::default)
                .into(),
            autonat_server: autonat.then(autonat::v2::server::Behaviour::default).into(),
            upnp: discovery.upnp.then(upnp::tokio::Behaviour::default).into(),
        }
    }
}

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
}

/// Kademlia finds peers here and stores nothing: records of others are refused.
fn walker(local: PeerId, config: &Kademlia) -> Option<kad::Behaviour<MemoryStore>> {
    let name = format!("{PROTOCOL_FAMILY}/kad/{}", config.network);
    let name = StreamProtocol::try_from_owned(name)
        .inspect_err(|error| tracing::error!(%error, "Kademlia is off: its name cannot be used"))
        .ok()?;
    let mut settings = kad::Config::new(name);
    settings
        .set_query_timeout(WALK_TIMEOUT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_caching(kad::Caching::Disabled)
        .set_record_ttl(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut walker = kad::Behaviour::with_config(local, MemoryStore::new(local), settings);
    walker.set_mode(match config.mode {
        KademliaMode::Auto => None,
        KademliaMode::Client => Some(kad::Mode::Client),
        KademliaMode::Server => Some(kad::Mode::Server),
    });
    Some(walker)
}

fn multicast(local: PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .inspect_err(|error| {
            tracing::warn!(%error, "mDNS is off: this machine does not let us listen for multicast");
        })
        .ok()
}

impl RpcBehaviour {
    fn new(side: Side) -> Self {
        let behaviour = |protocol: Protocol| {
            let support = if protocol.initiator() == side {
                ProtocolSupport::Outbound
            } else {
                ProtocolSupport::Inbound
            };
            let timeout = match protocol.lane() {
                Lane::Control => CONTROL_TIMEOUT,
                Lane::Data => DATA_TIMEOUT,
            };
            request_response::Behaviour::with_codec(
                FrameCodec::new(protocol),
                [(StreamProtocol::new(protocol.name()), support)],
                request_response::Config::default()
                    .with_request_timeout(timeout)
                    .with_max_concurrent_streams(INBOUND_STREAMS),
            )
        };
        Self {
            hello: behaviour(Protocol::Hello),
            heartbeat: behaviour(Protocol::Heartbeat),
            report_loss: behaviour(Protocol::ReportLoss),
            store_chunk: behaviour(Protocol::StoreChunk),
            retrieve_chunk: behaviour(Protocol::RetrieveChunk),
            delete_chunk: behaviour(Protocol::DeleteChunk),
            proof_challenge: behaviour(Protocol::ProofChallenge),
            inventory: behaviour(Protocol::Inventory),
        }
    }

    pub(crate) fn of(&mut self, protocol: Protocol) -> &mut RequestResponse {
        match protocol {
            Protocol::Hello => &mut self.hello,
            Protocol::Heartbeat => &mut self.heartbeat,
            Protocol::ReportLoss => &mut self.report_loss,
            Protocol::StoreChunk => &mut self.store_chunk,
            Protocol::RetrieveChunk => &mut self.retrieve_chunk,
            Protocol::DeleteChunk => &mut self.delete_chunk,
            Protocol::ProofChallenge => &mut self.proof_challenge,
            Protocol::Inventory => &mut self.inventory,
        }
    }
}

impl RpcBehaviourEvent {
    pub(crate) fn split(self) -> (Protocol, RequestResponseEvent) {
        match self {
            Self::Hello(event) => (Protocol::Hello, event),
            Self::Heartbeat(event) => (Protocol::Heartbeat, event),
            Self::ReportLoss(event) => (Protocol::ReportLoss, event),
            Self::StoreChunk(event) => (Protocol::StoreChunk, event),
            Self::RetrieveChunk(event) => (Protocol::RetrieveChunk, event),
            Self::DeleteChunk(event) => (Protocol::DeleteChunk, event),
            Self::ProofChallenge(event) => (Protocol::ProofChallenge, event),
            Self::Inventory(event) => (Protocol::Inventory, event),
        }
    }
}
