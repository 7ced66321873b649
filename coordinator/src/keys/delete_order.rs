//! What a coordinator tells a node to do with its blobs goes out over its own signature.

use jiff::Timestamp;
use proto::{DeleteOrder, DeleteRequest, Deletion, Malformed, Parties, PeerId};

use crate::keys::KeyRing;

impl KeyRing {
    /// The order to one node, given now. The node keeps it, and shows it when it is asked for the blobs later.
    pub fn order(
        &self,
        node: PeerId,
        deletions: Vec<Deletion>,
        now: Timestamp,
    ) -> Result<DeleteRequest, Malformed> {
        let parties = Parties {
            network_id: self.network_id,
            coordinator: self.identity.public().to_peer_id(),
            node,
        };
        let issued_at_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let order = DeleteOrder::new(parties, issued_at_ms, deletions)?;
        Ok(order.sign(&self.identity)?.into_request())
    }
}
