//! What a program decides about its place in the peer network.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use proto::Side;

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    pub keypair: Keypair,
    /// Which protocols this program serves and which it calls.
    pub side: Side,
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this program, where they differ from `listen`.
    pub external_addrs: Vec<Multiaddr>,
    /// `name/version`, told to peers.
    pub agent: String,
    pub ping: PingConfig,
    pub max_connections: u32,
    /// Exchanges under way at one time with one peer in the data lane; further calls wait.
    pub data_calls_per_peer: usize,
}

/// Round-trip measurement on idle connections.
#[derive(Debug, Clone, Copy)]
pub struct PingConfig {
    pub interval: Duration,
    pub timeout: Duration,
}

impl NetworkConfig {
    pub fn new(keypair: Keypair, side: Side) -> Self {
        Self {
            keypair,
            side,
            listen: Vec::new(),
            external_addrs: Vec::new(),
            agent: concat!("federated-storage/", env!("CARGO_PKG_VERSION")).to_owned(),
            ping: PingConfig {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(5),
            },
            max_connections: 4096,
            data_calls_per_peer: 8,
        }
    }
}
