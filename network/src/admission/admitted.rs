//! The roles in which peers were let in, from the decision until their last connection ends.
//!
//! A decision falls in the transport, before the connection has a number; it is counted for its peer, so that an older
//! connection that ends in between takes nothing away from the new one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use libp2p::PeerId;
use proto::Roles;

#[derive(Debug, Default)]
pub(crate) struct Admitted(RwLock<HashMap<PeerId, Entry>>);

#[derive(Debug)]
struct Entry {
    /// By the latest decision.
    roles: Roles,
    /// Incoming ones that were let in and have not ended.
    connections: u32,
}

impl Admitted {
    pub(crate) fn roles(&self, peer: &PeerId) -> Roles {
        let admitted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        admitted.get(peer).map_or(Roles::NONE, |entry| entry.roles)
    }

    pub(super) fn add(&self, peer: PeerId, roles: Roles) {
        let mut admitted = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let entry = admitted.entry(peer);
        let entry = entry.or_insert(Entry {
            roles,
            connections: 0,
        });
        entry.roles = roles;
        entry.connections += 1;
    }

    pub(super) fn end(&self, peer: &PeerId) {
        let mut admitted = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = admitted.get_mut(peer) {
            entry.connections -= 1;
            if entry.connections == 0 {
                admitted.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_held_until_the_last_connection_ends_and_the_latest_decision_counts() {
        let (admitted, peer) = (Admitted::default(), PeerId::random());
        assert_eq!(admitted.roles(&peer), Roles::NONE);
        admitted.add(peer, Roles::NODE);
        admitted.add(peer, Roles::COORDINATOR);
        admitted.end(&peer);
        assert_eq!(admitted.roles(&peer), Roles::COORDINATOR);
        admitted.end(&peer);
        assert_eq!(admitted.roles(&peer), Roles::NONE);
        assert!(admitted.0.read().unwrap().is_empty());
    }
}
