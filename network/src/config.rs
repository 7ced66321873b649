//! What a program decides about its place in the peer network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use proto::{ProtocolSpec, Roles};

use crate::admission::{Admission, Everyone};

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    pub keypair: Keypair,
    /// What the names of the protocols begin with: peers are told that this program speaks it, and Kademlia's name
    /// stands below it.
    pub family: String,
    /// The protocols of which this program serves those that are served in one of its roles. Those that it calls need
    /// not stand here.
    pub protocols: Vec<ProtocolSpec>,
    /// What this program is.
    pub roles: Roles,
    /// Others dial this program and it dials nobody to stay: connections that it opens are probes and carry calls only
    /// where there is no other, Kademlia's walks open none, and it does not ask whether it can be reached. To others it is
    /// a [`Target`](crate::Target) that [answers only](crate::Target::answers_only).
    pub answers_only: bool,
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this program, where they differ from `listen`. Others are then
    /// told these and no more.
    pub external_addrs: Vec<Multiaddr>,
    /// `name/version`, told to peers.
    pub agent: String,
    pub ping: PingConfig,
    /// Where peers were last connected from that this program counts on: handshakes from there have room of their own.
    pub known_addresses: Vec<IpAddr>,
    /// Who may connect, and in which roles; everybody and in none unless it is set.
    pub admission: Arc<dyn Admission>,
    pub limits: Limits,
    pub discovery: Discovery,
    /// Exchanges under way at one time with one peer in the data lane; further calls wait. A connection takes 32.
    pub data_calls_per_peer: usize,
}

/// Round-trip measurement, and a sign of life of peers of which nothing else is heard.
#[derive(Debug, Clone, Copy)]
pub struct PingConfig {
    pub interval: Duration,
    pub timeout: Duration,
}

/// What strangers, and friends gone wrong, can take of this program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub connections: u32,
    /// A changed address leaves an old connection behind for a while; more than that is a fault.
    pub connections_per_peer: u32,
    /// Per IPv4 address or IPv6 /64, handshakes that are under way included.
    pub connections_per_address: u32,
    /// Incoming connections of strangers whose handshake is under way, and as many from addresses of peers that the
    /// program counts on. When there are so many, a new one takes the place of the oldest of whoever has the most.
    pub pending_incoming: u32,
    /// The same of one IPv4 address or IPv6 /64.
    pub pending_per_address: u32,
    pub pending_outgoing: u32,
    /// New connections are refused while the process has more resident memory than this; nine tenths
    /// of the machine's where it is not set.
    pub memory_bytes: Option<usize>,
}

/// How peers and their addresses are found, beside what the program is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    pub kademlia: Option<Kademlia>,
    /// Multicast on the local network.
    pub mdns: bool,
    /// Ask peers whether this program can be reached from outside; one that answers only is not asking, but answers who
    /// asks, and dials for it no other address than the one that it sees him come from.
    pub autonat: bool,
    /// Dial private, loopback and link-local addresses, and names, on the word of others too: for networks on one machine
    /// or behind one router.
    pub private_addresses: bool,
    /// Ask the router to forward the ports that are listened on.
    pub upnp: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kademlia {
    /// The end of the protocol's name, so that networks do not mix.
    pub network: String,
    pub mode: KademliaMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KademliaMode {
    /// Serve others once an address is known at which they reach this program, ask only until then.
    Auto,
    Client,
    Server,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_peer: 3,
            connections_per_address: 256,
            pending_incoming: 256,
            pending_per_address: 16,
            pending_outgoing: 256,
            memory_bytes: None,
        }
    }
}

impl NetworkConfig {
    /// Listens nowhere, admits everybody in no role, discovers nobody.
    pub fn new(keypair: Keypair, family: &str, protocols: &[ProtocolSpec], roles: Roles) -> Self {
        Self {
            keypair,
            family: family.to_owned(),
            protocols: protocols.to_vec(),
            roles,
            answers_only: false,
            listen: Vec::new(),
            external_addrs: Vec::new(),
            agent: concat!("network/", env!("CARGO_PKG_VERSION")).to_owned(),
            ping: PingConfig {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(5),
            },
            known_addresses: Vec::new(),
            admission: Arc::new(Everyone(Roles::NONE)),
            limits: Limits::default(),
            discovery: Discovery::default(),
            data_calls_per_peer: 8,
        }
    }
}
