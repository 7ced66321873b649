//! When each peer was last heard, for whoever judges its silence.
//!
//! Asked for when it matters, and not told each time: of a thousand peers two hundred are heard each second, and
//! nobody needs to know but once in several.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

/// Requests and responses that were read; pongs are told by themselves. One entry for each connected peer, removed
/// by the policy.
#[derive(Debug, Default)]
pub(crate) struct Signs(Mutex<HashMap<PeerId, (ConnectionId, Instant)>>);

impl Signs {
    pub(crate) fn note(&self, peer: PeerId, connection: ConnectionId) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(peer, (connection, Instant::now()));
    }

    pub(crate) fn last(&self, peer: &PeerId) -> Option<Instant> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(peer).map(|(_, at)| *at)
    }

    /// Over which connection it was last heard.
    pub(crate) fn connection(&self, peer: &PeerId) -> Option<ConnectionId> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(peer).map(|(connection, _)| *connection)
    }

    /// Nothing when another connection has been used since: which it is matters to nobody who has one.
    pub(crate) fn last_over(&self, peer: &PeerId, connection: ConnectionId) -> Option<Instant> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (over, at) = heard.get(peer)?;
        (*over == connection).then_some(*at)
    }

    pub(crate) fn forget(&self, peer: &PeerId) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.remove(peer);
    }
}
