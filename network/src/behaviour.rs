//! The swarm's behaviours. Those that refuse connections stand first, so that nothing else has
//! allocated for a connection that is not to be.

use std::time::Duration;

use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, connection_limits, identify, ping};
use proto::{Lane, Protocol, Side};

use crate::codec::FrameCodec;
use crate::config::NetworkConfig;

/// What identify tells about the family of protocols.
const PROTOCOL_FAMILY: &str = "/federated-storage/1.0.0";

const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const DATA_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that one connection may have open with us at one time, per protocol.
pub(crate) const INBOUND_STREAMS: usize = 64;

/// A changed address leaves an old connection behind for a while; more than that is a fault.
const MAX_CONNECTIONS_PER_PEER: u32 = 3;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) rpc: RpcBehaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
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
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_established(Some(config.max_connections))
            .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER))
            .with_max_pending_incoming(Some(256))
            .with_max_pending_outgoing(Some(256));
        let ping = ping::Config::new()
            .with_interval(config.ping.interval)
            .with_timeout(config.ping.timeout);
        let identify = identify::Config::new(PROTOCOL_FAMILY.to_owned(), config.keypair.public())
            .with_agent_version(config.agent.clone());
        Self {
            limits: connection_limits::Behaviour::new(limits),
            rpc: RpcBehaviour::new(config.side),
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
        }
    }
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
