//! The peer layer: who is connected, and requests and responses between peers. Knows no storage.
//!
//! What peers can ask of each other is a table of [`ProtocolSpec`](proto::ProtocolSpec)s that the program hands in, with
//! the [roles](proto::Roles) that it holds. An [`Admission`] says in which roles each peer is let in. A request is read only
//! when the peer has a role that may ask it and we have one that answers it; any other is refused when its stream is
//! negotiated.
//!
//! [`start`] runs the event loop, which owns the swarm and nothing else: commands come in through a [`NetworkHandle`],
//! [`NetworkEvent`]s and [`InboundRequest`]s go out, all over bounded channels. [`PeerManager`] beside it holds the policy:
//! whom to dial and when, who has fallen silent, which of several connections stays. Neither awaits the other's
//! work, so neither can stall the other.
//!
//! ```
//! use std::sync::Arc;
//!
//! use network::{Everyone, Keypair, NetworkConfig, start};
//! use proto::{BlobId, RequestId, Retrieve, RetrieveAnswer, RetrieveRequest, Roles, protocols};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let in_role = |role, others| {
//!     let keypair = Keypair::generate_ed25519();
//!     NetworkConfig {
//!         admission: Arc::new(Everyone(others)),
//!         ..NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, role)
//!     }
//! };
//! let mut node = start(NetworkConfig {
//!     listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
//!     ..in_role(Roles::NODE, Roles::COORDINATOR)
//! })
//! .await?;
//! let mut coordinator = start(in_role(Roles::COORDINATOR, Roles::NODE)).await?;
//!
//! let peer = node.handle.local_peer_id();
//! coordinator.handle.dial(peer, node.handle.listen_addrs().await).await;
//! while !coordinator.handle.is_connected(&peer) {
//!     coordinator.events.recv().await;
//! }
//!
//! let blob_id = BlobId::of(b"a blob");
//! let asking = coordinator.handle.call::<Retrieve>(peer, RetrieveRequest { blob_id, request_id: RequestId::NONE });
//! let answering = async {
//!     let mut request = node.requests.recv().await?;
//!     assert_eq!(request.protocol, protocols::RETRIEVE_CHUNK);
//!     assert_eq!(request.decode::<Retrieve>().ok()?.blob_id, blob_id);
//!     Some(request.respond::<Retrieve>(RetrieveAnswer::Missing).await)
//! };
//! let (answer, _) = tokio::join!(asking, answering);
//! assert_eq!(answer?, RetrieveAnswer::Missing);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod addrs;
mod admission;
mod backoff;
mod behaviour;
mod codec;
mod config;
mod dial_back;
mod event;
mod exchange;
mod handle;
mod hearsay;
mod peers;
mod ping;
mod rate;
mod service;
mod status;
mod transport;
mod walker;

pub use addrs::{ParseTargetError, Target, can_be_dialled};
pub use admission::{Admission, AllowList, AuthMode, Everyone, Refusal, RefusalReason, Refusals};
pub use backoff::ReconnectPolicy;
pub use config::{Discovery, Kademlia, KademliaMode, Limits, NetworkConfig, PingConfig};
pub use event::{AddrSource, DisconnectReason, InboundRequest, NetworkEvent};
pub use exchange::CallError;
pub use handle::{NetworkHandle, Pinged};
pub use peers::{
    Change, IllegalChange, PeerEvent, PeerManager, PeerPolicy, PeerState, PeerView, Peers,
    PeersObserver, Rtt,
};
pub use service::{Network, StartError, start};
pub use status::{KademliaStatus, NetworkStatus, Probe, Upnp};
pub use transport::{Channel, Handshakes};

pub use libp2p::swarm::ConnectionId;
pub use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr};
