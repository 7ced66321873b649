//! The peer network as the use-cases and the operator see it.

use std::net::IpAddr;
use std::sync::Arc;

use network::{NetworkHandle, PeersObserver};

use crate::database::Pool;

use crate::fleet::admission::RegisteredPeers;
use crate::fleet::tables;

/// What there is to ask of a running peer network.
#[derive(Debug, Clone)]
pub struct PeerNetwork {
    pub handle: NetworkHandle,
    pub observer: PeersObserver,
    pub registered: Arc<RegisteredPeers>,
}

/// Addresses of registered nodes that are known when a coordinator starts.
const KNOWN_ADDRESSES: i64 = 16_384;

/// Where nodes were connected from last: they come back from there, all at once, when a coordinator starts.
pub async fn known_addresses(pool: &Pool) -> sqlx::Result<Vec<IpAddr>> {
    let mut connection = pool.acquire().await?;
    tables::nodes::last_addresses(&mut connection, KNOWN_ADDRESSES).await
}
