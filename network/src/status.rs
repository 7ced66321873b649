//! How this program stands in the network, as far as the event loop knows.

use libp2p::Multiaddr;

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Without the `/p2p/…` part.
    pub listen_addrs: Vec<Multiaddr>,
    /// Addresses at which others reach this program: configured, confirmed, or forwarded by a router.
    pub external_addrs: Vec<Multiaddr>,
    pub connections: u32,
    /// What AutoNAT found out, the latest test of each address.
    pub probes: Vec<Probe>,
    pub upnp: Upnp,
    /// `None` where Kademlia is off.
    pub kademlia: Option<KademliaStatus>,
}

/// A peer tried to reach us at this address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub addr: Multiaddr,
    pub outcome: Result<(), String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upnp {
    /// Not asked for, or no router has answered yet.
    #[default]
    Unknown,
    Forwarded,
    /// There is no router that speaks UPnP.
    NoGateway,
    /// The router itself has no public address.
    GatewayNotPublic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KademliaStatus {
    /// Whether we answer the walks of others.
    pub serves: bool,
    /// Peers in the table.
    pub peers: usize,
}
