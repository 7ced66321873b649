//! The peer network as the use-cases and the operator see it.

use std::sync::Arc;

use network::{NetworkHandle, PeersObserver};

use crate::fleet::admission::RegisteredPeers;

/// What there is to ask of a running peer network.
#[derive(Debug, Clone)]
pub struct PeerNetwork {
    pub handle: NetworkHandle,
    pub observer: PeersObserver,
    pub registered: Arc<RegisteredPeers>,
}
