//! Kademlia's walks, of which others say where they lead: an address that they name is dialled only if
//! [hearsay](crate::hearsay) may be.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, kad};

use crate::hearsay::Hearsay;

/// Addresses that are tried of one peer on a walk.
const MAX_TRIED: usize = 8;

type Kademlia = kad::Behaviour<MemoryStore>;

pub(crate) struct Walker {
    kademlia: Kademlia,
    hearsay: Hearsay,
}

impl Walker {
    pub(crate) fn new(kademlia: Kademlia, hearsay: Hearsay) -> Self {
        Self { kademlia, hearsay }
    }
}

impl Deref for Walker {
    type Target = Kademlia;

    fn deref(&self) -> &Kademlia {
        &self.kademlia
    }
}

impl DerefMut for Walker {
    fn deref_mut(&mut self) -> &mut Kademlia {
        &mut self.kademlia
    }
}

impl NetworkBehaviour for Walker {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Kademlia as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let kademlia = &mut self.kademlia;
        kademlia.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let kademlia = &mut self.kademlia;
        kademlia.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let kademlia = &mut self.kademlia;
        let mut told =
            kademlia.handle_pending_outbound_connection(connection, peer, addrs, role)?;
        told.retain(|addr| self.hearsay.may_be_dialled(addr));
        told.truncate(MAX_TRIED);
        Ok(told)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let kademlia = &mut self.kademlia;
        kademlia.handle_established_outbound_connection(connection, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.kademlia.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.kademlia
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.kademlia.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::kad;

    use super::*;

    fn dialled(private_addresses: bool, told: &[&str]) -> Vec<Multiaddr> {
        let (local, peer) = (PeerId::random(), PeerId::random());
        let mut kademlia = Kademlia::with_config(
            local,
            MemoryStore::new(local),
            kad::Config::new(libp2p::StreamProtocol::new("/test/kad")),
        );
        for addr in told {
            kademlia.add_address(&peer, addr.parse().unwrap());
        }
        let hearsay = Hearsay { private_addresses };
        let mut walker = Walker::new(kademlia, hearsay);
        let connection = ConnectionId::new_unchecked(1);
        let role = Endpoint::Dialer;
        walker
            .handle_pending_outbound_connection(connection, Some(peer), &[], role)
            .unwrap()
    }

    #[test]
    fn a_walk_dials_no_private_address_on_the_word_of_others() {
        let told = [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/10.0.0.1/tcp/5432",
            "/dns4/localhost/tcp/80",
            "/ip4/192.0.2.1/tcp/4001",
        ];
        let public = dialled(false, &told);
        assert_eq!(public.len(), 1);
        assert!(public[0].to_string().starts_with("/ip4/192.0.2.1/tcp/4001"));
        assert_eq!(dialled(true, &told).len(), 4);
    }

    #[test]
    fn a_walk_tries_a_few_addresses_of_a_peer_however_many_are_told() {
        let told: Vec<String> = (1..100)
            .map(|port| format!("/ip4/192.0.2.1/tcp/{port}"))
            .collect();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(dialled(false, &told).len(), MAX_TRIED);
    }
}
