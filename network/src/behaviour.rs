//! The swarm's behaviours. Those that refuse connections stand first, so that nothing else has
//! allocated for a connection that is not to be.

use std::sync::Arc;
use std::time::Duration;

use libp2p::kad::store::MemoryStore;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, StreamProtocol, autonat, connection_limits, identify, kad, mdns,
    memory_connection_limits, upnp,
};
use rand::rngs::StdRng;

use crate::config::{Discovery, Kademlia, KademliaMode, Limits, NetworkConfig};
use crate::exchange::{self, Shared};
use crate::hearsay::Hearsay;
use crate::walker::Walker;
use crate::{admission, dial_back, ping};

/// Of the machine's memory, where no other limit is set.
const MEMORY_SHARE: f64 = 0.9;

/// How long one walk through the Kademlia table may take.
const WALK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    admission: admission::behaviour::Behaviour,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(crate) exchange: exchange::Behaviour,
    pub(crate) ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(crate) kademlia: Toggle<Walker>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    autonat: Toggle<autonat::v2::client::Behaviour>,
    dial_back: Toggle<dial_back::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(config: &NetworkConfig, shared: Shared, random: StdRng) -> Self {
        let local = config.keypair.public().to_peer_id();
        let limits = &config.limits;
        let identify = identify::Config::new(config.family.clone(), config.keypair.public())
            .with_agent_version(config.agent.clone())
            // Whoever was told where a peer is reached is not to find a way around it, such as past a
            // relay that meters or filters.
            .with_hide_listen_addrs(!config.external_addrs.is_empty())
            .with_cache_size(0); // addresses are kept where policy can see them
        let discovery = &config.discovery;
        let autonat = discovery.autonat;
        let hearsay = hearsay(discovery);
        Self {
            admission: admission::behaviour::Behaviour::new(
                config.answers_only,
                Arc::clone(&config.admission),
                Arc::clone(&shared.admitted),
                limits.connections_per_address,
            ),
            limits: connection_limits::Behaviour::new(connection_limits(limits)),
            memory: match limits.memory_bytes {
                Some(bytes) => memory_connection_limits::Behaviour::with_max_bytes(bytes),
                None => memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE),
            },
            ping: ping::Behaviour::new(config.ping, Arc::clone(&shared.signs), random),
            exchange: exchange::Behaviour::new(shared),
            identify: identify::Behaviour::new(identify),
            kademlia: discovery
                .kademlia
                .as_ref()
                .and_then(|kademlia| walker(local, &config.family, kademlia, hearsay))
                .into(),
            mdns: discovery.mdns.then(|| multicast(local)).flatten().into(),
            // Who only answers is reachable or useless, and need not ask.
            autonat: (autonat && !config.answers_only)
                .then(autonat::v2::client::Behaviour::default)
                .into(),
            // Who dials others on their word has to be somebody whom the network trusts to know what he may.
            dial_back: (autonat && config.answers_only)
                .then(|| dial_back::Behaviour::new(hearsay))
                .into(),
            upnp: discovery.upnp.then(upnp::tokio::Behaviour::default).into(),
        }
    }
}

pub(crate) fn hearsay(discovery: &Discovery) -> Hearsay {
    Hearsay {
        private_addresses: discovery.private_addresses,
    }
}

/// Handshakes under way are bounded where they begin: [`admission::pending`].
fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
}

/// Kademlia finds peers here and stores nothing: records of others are refused.
fn walker(local: PeerId, family: &str, config: &Kademlia, hearsay: Hearsay) -> Option<Walker> {
    let name = format!("{family}/kad/{}", config.network);
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
    Some(Walker::new(walker, hearsay))
}

fn multicast(local: PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .inspect_err(|error| {
            tracing::warn!(%error, "mDNS is off: this machine does not let us listen for multicast");
        })
        .ok()
}
