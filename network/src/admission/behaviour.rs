//! What is decided on connections by their addresses: how many come from one, and which ones discovery may dial.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address_block::AddressBlock;
use super::{Admission, Admitted};
use crate::rate::{Rate, Used};

#[derive(Debug, thiserror::Error)]
#[error("{block:?} has {limit} connections already, which is as many as one address may have")]
pub(super) struct AddressLimit {
    block: AddressBlock,
    limit: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("discovery may not open a connection to this peer")]
struct NotToBeVisited;

#[derive(Debug, thiserror::Error)]
#[error("discovery opens as many connections as it may")]
struct TooManyVisits;

/// Whom a walk meets is for others to say, and they may say it without end.
const VISITS: Rate = Rate {
    burst: 64,
    every: Duration::from_millis(250),
};

pub(crate) struct Behaviour {
    answers_only: bool,
    admission: Arc<dyn Admission>,
    admitted: Arc<Admitted>,
    limit: u32,
    counts: HashMap<AddressBlock, u32>,
    blocks: HashMap<ConnectionId, AddressBlock>,
    visits: Used,
}

impl Behaviour {
    /// At most `limit` connections from one address.
    pub(crate) fn new(
        answers_only: bool,
        admission: Arc<dyn Admission>,
        admitted: Arc<Admitted>,
        limit: u32,
    ) -> Self {
        Self {
            answers_only,
            admission,
            admitted,
            limit,
            counts: HashMap::new(),
            blocks: HashMap::new(),
            visits: Used::nothing(Instant::now()),
        }
    }

    fn enter(&mut self, connection: ConnectionId, from: &Multiaddr) -> Result<(), AddressLimit> {
        let Some(block) = AddressBlock::of(from) else {
            return Ok(());
        };
        let count = self.counts.entry(block).or_default();
        if *count >= self.limit {
            let limit = self.limit;
            return Err(AddressLimit { block, limit });
        }
        *count += 1;
        self.blocks.insert(connection, block);
        Ok(())
    }

    fn leave(&mut self, connection: ConnectionId) {
        let Some(block) = self.blocks.remove(&connection) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&block);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.enter(connection, from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    /// Whoever dials by intent names addresses. What comes without is Kademlia on one of its walks:
    /// who only answers dials nobody, and an enforced allow-list holds in both directions.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !addrs.is_empty() {
            return Ok(Vec::new());
        }
        let welcome =
            !self.answers_only && peer.is_some_and(|peer| self.admission.may_be_visited(&peer));
        if !welcome {
            return Err(ConnectionDenied::new(NotToBeVisited));
        }
        if !self.visits.take(VISITS, Instant::now()) {
            return Err(ConnectionDenied::new(TooManyVisits));
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ListenFailure(failure) => {
                self.leave(failure.connection_id);
                // Only behind the handshake it is known whose connection it was.
                if let Some(peer) = failure.peer_id {
                    self.admitted.end(&peer);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.leave(closed.connection_id);
                if closed.endpoint.is_listener() {
                    self.admitted.end(&closed.peer_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use proto::Roles;

    use super::super::Everyone;
    use super::*;

    fn limited_to(limit: u32) -> Behaviour {
        Behaviour::new(
            false,
            Arc::new(Everyone(Roles::NONE)),
            Arc::default(),
            limit,
        )
    }

    fn enter(behaviour: &mut Behaviour, number: usize, from: &str) -> bool {
        let connection = ConnectionId::new_unchecked(number);
        behaviour.enter(connection, &from.parse().unwrap()).is_ok()
    }

    #[test]
    fn an_address_has_as_many_connections_as_the_limit_says_and_room_again_when_one_ends() {
        let mut behaviour = limited_to(2);
        assert!(enter(&mut behaviour, 1, "/ip4/192.0.2.1/tcp/1"));
        assert!(enter(&mut behaviour, 2, "/ip4/192.0.2.1/udp/9/quic-v1"));
        assert!(!enter(&mut behaviour, 3, "/ip4/192.0.2.1/tcp/3"));
        assert!(enter(&mut behaviour, 4, "/ip4/192.0.2.2/tcp/3"));
        behaviour.leave(ConnectionId::new_unchecked(3)); // it never was in
        assert!(!enter(&mut behaviour, 5, "/ip4/192.0.2.1/tcp/3"));
        behaviour.leave(ConnectionId::new_unchecked(1));
        assert!(enter(&mut behaviour, 6, "/ip6/::ffff:192.0.2.1/tcp/3"));
        for number in [2, 4, 6] {
            behaviour.leave(ConnectionId::new_unchecked(number));
        }
        assert!(behaviour.counts.is_empty() && behaviour.blocks.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let mut behaviour = limited_to(1);
        assert!(enter(&mut behaviour, 1, "/ip6/2001:db8:1:2::1/tcp/1"));
        assert!(!enter(&mut behaviour, 2, "/ip6/2001:db8:1:2:ffff::1/tcp/1"));
        assert!(enter(&mut behaviour, 3, "/ip6/2001:db8:1:3::1/tcp/1"));
    }
}
