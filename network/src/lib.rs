//! The peer layer: who is connected, and frames between peers. Knows no storage.
//!
//! [`NetworkService`](service) owns the swarm and nothing else: commands come in, events and inbound
//! requests go out, all over bounded channels. [`PeerManager`](peers) beside it holds the policy:
//! whom to dial and when. Neither awaits the other's work, so neither can stall the other.

mod addrs;
mod admission;
mod backoff;
mod behaviour;
mod codec;
mod config;
mod event;
mod exchange;
mod gate;
mod handle;
mod peers;
mod ping;
mod service;
mod status;
mod transport;

pub use addrs::{ParseTargetError, Target, can_be_dialled};
pub use admission::{AllowList, AuthMode, Everyone, Gatekeeper, Refusal};
pub use backoff::ReconnectPolicy;
pub use config::{Discovery, Kademlia, KademliaMode, Limits, NetworkConfig, PingConfig};
pub use event::{AddrSource, DisconnectReason, InboundRequest, NetworkEvent};
pub use gate::{RefusalReason, Refusals};
pub use handle::{CallError, NetworkHandle};
pub use peers::{
    Change, IllegalChange, PeerEvent, PeerManager, PeerPolicy, PeerState, PeerView, Peers,
    PeersObserver, Rtt,
};
pub use service::{Network, StartError, start};
pub use status::{KademliaStatus, NetworkStatus, Probe, Upnp};
pub use transport::{Channel, Handshakes};

pub use libp2p::swarm::ConnectionId;
pub use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr};
