//! Peers as the programs set theirs up, but that they ask nobody who he is.

use std::sync::Arc;

use network::{Everyone, Keypair, NetworkConfig};
use proto::{Roles, protocols};

/// Takes everybody for a node.
pub(crate) fn coordinator(keypair: Keypair) -> NetworkConfig {
    NetworkConfig {
        answers_only: true,
        admission: Arc::new(Everyone(Roles::NODE)),
        ..in_role(keypair, Roles::COORDINATOR)
    }
}

/// Takes everybody for a coordinator.
pub(crate) fn node(keypair: Keypair) -> NetworkConfig {
    NetworkConfig {
        admission: Arc::new(Everyone(Roles::COORDINATOR)),
        ..in_role(keypair, Roles::NODE)
    }
}

fn in_role(keypair: Keypair, role: Roles) -> NetworkConfig {
    NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, role)
}
