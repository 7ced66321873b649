//! The peer layer: who is connected, and frames between peers. Knows no storage.
//!
//! [`NetworkService`](service) owns the swarm and nothing else: commands come in, events and inbound
//! requests go out, all over bounded channels. [`PeerManager`](peers) beside it holds the policy:
//! whom to dial and when. Neither awaits the other's work, so neither can stall the other.

mod backoff;
mod behaviour;
mod codec;
mod config;
mod event;
mod handle;
mod peers;
mod service;
mod transport;

pub use backoff::ReconnectPolicy;
pub use config::{NetworkConfig, PingConfig};
pub use event::{DisconnectReason, InboundRequest, NetworkEvent};
pub use handle::{CallError, NetworkHandle};
pub use peers::{ParseTargetError, PeerEvent, PeerManager, Peers, Target};
pub use service::{Network, StartError, start};
pub use transport::{Channel, Handshakes};

pub use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr};
