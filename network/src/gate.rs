//! The gate that every connection passes: who the peer is, and how many come from one address.
//!
//! What is known before the handshake (the address) is judged before it, in a behaviour; what is
//! known behind it (the identity) where the transport hands the connection over. A connection that is
//! refused at either place has never reached the protocols.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, PortUse};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::memory_connection_limits::MemoryUsageLimitExceeded;
use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenError, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, Transport, TransportError, connection_limits};
use proto::Side;

use crate::admission::Gatekeeper;

/// Less than the 5 s after which a stranger has to be gone.
const DECIDE_WITHIN: Duration = Duration::from_secs(4);

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// A peer that has proven its identity and may not connect.
#[derive(Debug, thiserror::Error)]
#[error("refused peer {peer}: {reason}")]
struct Stranger {
    peer: PeerId,
    reason: String,
}

/// Asks the gatekeeper about each peer that comes in.
pub(crate) fn guard(transport: Connections, gatekeeper: Arc<dyn Gatekeeper>) -> Connections {
    let check = move |(peer, muxer): (PeerId, StreamMuxerBox), endpoint: ConnectedPoint| {
        let decision = match endpoint {
            ConnectedPoint::Listener { send_back_addr, .. } => {
                Some(gatekeeper.admit(peer, send_back_addr))
            }
            ConnectedPoint::Dialer { .. } => None,
        };
        async move {
            if let Some(decision) = decision {
                let decided = tokio::time::timeout(DECIDE_WITHIN, decision).await;
                let reason = match decided {
                    Ok(Ok(())) => return Ok((peer, muxer)),
                    Ok(Err(refusal)) => refusal.to_string(),
                    Err(_) => "nobody could say in time whether it may come in".to_owned(),
                };
                return Err(io::Error::other(Stranger { peer, reason }));
            }
            Ok((peer, muxer))
        }
    };
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's type is of a crate that we have no other use for"
    )]
    transport
        .and_then(check)
        .map_err(|error| error.into_inner())
        .boxed()
}

/// Why an incoming connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The gatekeeper does not know the peer.
    Stranger,
    TooManyFromAddress,
    TooManyOfPeer,
    /// In total, or handshakes under way.
    TooMany,
    Memory,
    /// The handshake failed or took too long.
    Handshake,
}

impl RefusalReason {
    pub const ALL: [Self; 6] = [
        Self::Stranger,
        Self::TooManyFromAddress,
        Self::TooManyOfPeer,
        Self::TooMany,
        Self::Memory,
        Self::Handshake,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::TooManyFromAddress => "address_limit",
            Self::TooManyOfPeer => "peer_limit",
            Self::TooMany => "connection_limit",
            Self::Memory => "memory_limit",
            Self::Handshake => "handshake",
        }
    }

    pub(crate) fn of(error: &ListenError, peer: Option<&PeerId>) -> Self {
        match error {
            ListenError::Denied { cause } => {
                if cause.downcast_ref::<AddressLimit>().is_some() {
                    Self::TooManyFromAddress
                } else if cause.downcast_ref::<MemoryUsageLimitExceeded>().is_some() {
                    Self::Memory
                } else if cause
                    .downcast_ref::<connection_limits::Exceeded>()
                    .is_some()
                    && peer.is_some()
                {
                    Self::TooManyOfPeer
                } else {
                    Self::TooMany
                }
            }
            ListenError::Transport(TransportError::Other(error)) if is_stranger(error) => {
                Self::Stranger
            }
            _ => Self::Handshake,
        }
    }
}

fn is_stranger(error: &io::Error) -> bool {
    let mut error = error;
    while let Some(inner) = error.get_ref() {
        if inner.is::<Stranger>() {
            return true;
        }
        match inner.downcast_ref::<io::Error>() {
            Some(inner) => error = inner,
            None => return false,
        }
    }
    false
}

/// How many connections were refused since the start, by reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; RefusalReason::ALL.len()]);

impl Refusals {
    pub fn of(&self, reason: RefusalReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, reason: RefusalReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{place:?} has {limit} connections already, which is as many as one address may have")]
struct AddressLimit {
    place: Place,
    limit: u32,
}

/// Whoever has one IPv6 address has a /64 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    V4(Ipv4Addr),
    V6Prefix(Ipv6Addr),
}

impl Place {
    fn of(addr: &Multiaddr) -> Option<Self> {
        let ip = addr.iter().find_map(|part| match part {
            AddrPart::Ip4(ip) => Some(IpAddr::V4(ip)),
            AddrPart::Ip6(ip) => Some(ip.to_canonical()),
            _ => None,
        })?;
        Some(match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let prefix = u128::from(ip) >> 64 << 64;
                Self::V6Prefix(Ipv6Addr::from(prefix))
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("discovery may not open a connection to this peer")]
struct NotToBeVisited;

pub(crate) struct Gate {
    side: Side,
    gatekeeper: Arc<dyn Gatekeeper>,
    limit: u32,
    counts: HashMap<Place, u32>,
    places: HashMap<ConnectionId, Place>,
}

impl Gate {
    pub(crate) fn new(side: Side, gatekeeper: Arc<dyn Gatekeeper>, limit: u32) -> Self {
        Self {
            side,
            gatekeeper,
            limit,
            counts: HashMap::new(),
            places: HashMap::new(),
        }
    }

    fn enter(&mut self, connection: ConnectionId, from: &Multiaddr) -> Result<(), AddressLimit> {
        let Some(place) = Place::of(from) else {
            return Ok(());
        };
        let count = self.counts.entry(place).or_default();
        if *count >= self.limit {
            let limit = self.limit;
            return Err(AddressLimit { place, limit });
        }
        *count += 1;
        self.places.insert(connection, place);
        Ok(())
    }

    fn leave(&mut self, connection: ConnectionId) {
        let Some(place) = self.places.remove(&connection) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
            }
        }
    }
}

impl NetworkBehaviour for Gate {
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
    /// coordinators dial nobody, and an enforced allow-list holds in both directions.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let by_intent = !addrs.is_empty();
        let welcome = self.side == Side::Node
            && peer.is_some_and(|peer| self.gatekeeper.may_be_visited(&peer));
        if by_intent || welcome {
            Ok(Vec::new())
        } else {
            Err(ConnectionDenied::new(NotToBeVisited))
        }
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
            FromSwarm::ListenFailure(failure) => self.leave(failure.connection_id),
            FromSwarm::ConnectionClosed(closed) => self.leave(closed.connection_id),
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
    use super::*;
    use crate::admission::Everyone;

    fn enter(gate: &mut Gate, number: usize, from: &str) -> bool {
        let connection = ConnectionId::new_unchecked(number);
        gate.enter(connection, &from.parse().unwrap()).is_ok()
    }

    #[test]
    fn an_address_has_as_many_connections_as_the_limit_says_and_room_again_when_one_ends() {
        let mut gate = Gate::new(Side::Node, Arc::new(Everyone), 2);
        assert!(enter(&mut gate, 1, "/ip4/192.0.2.1/tcp/1"));
        assert!(enter(&mut gate, 2, "/ip4/192.0.2.1/udp/9/quic-v1"));
        assert!(!enter(&mut gate, 3, "/ip4/192.0.2.1/tcp/3"));
        assert!(enter(&mut gate, 4, "/ip4/192.0.2.2/tcp/3"));
        gate.leave(ConnectionId::new_unchecked(3)); // it never was in
        assert!(!enter(&mut gate, 5, "/ip4/192.0.2.1/tcp/3"));
        gate.leave(ConnectionId::new_unchecked(1));
        assert!(enter(&mut gate, 6, "/ip6/::ffff:192.0.2.1/tcp/3"));
        for number in [2, 4, 6] {
            gate.leave(ConnectionId::new_unchecked(number));
        }
        assert!(gate.counts.is_empty() && gate.places.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let mut gate = Gate::new(Side::Node, Arc::new(Everyone), 1);
        assert!(enter(&mut gate, 1, "/ip6/2001:db8:1:2::1/tcp/1"));
        assert!(!enter(&mut gate, 2, "/ip6/2001:db8:1:2:ffff::1/tcp/1"));
        assert!(enter(&mut gate, 3, "/ip6/2001:db8:1:3::1/tcp/1"));
    }
}
