//! AutoNAT's server: dials a peer that asks whether it can be reached.
//!
//! libp2p's dials whatever address it is asked to, once it has been sent some data for it. Whoever may ask would have us knock
//! at any door of our own network and tell him what we found. So what is dialled here is the peer's own address, the one that we
//! see him come from, at the port that he names; not within our own network, unless that is wanted; and not without end.
//! What is refused counts as an address at which he cannot be reached.

use std::collections::HashMap;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::autonat::v2::server;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::admission::AddressBlock;
use crate::hearsay::Hearsay;
use crate::rate::{Rate, Used};

/// Of one address or /64: a peer asks a few times when it starts, and a rack of them at once.
const PER_ADDRESS: Rate = Rate {
    burst: 32,
    every: Duration::from_secs(10),
};
const IN_TOTAL: Rate = Rate {
    burst: 128,
    every: Duration::from_millis(100),
};
/// Addresses of which what they used is kept; with so many in use at a time the total holds them back.
const MAX_ADDRESSES: usize = 4096;

#[derive(Debug, thiserror::Error)]
enum NotDialled {
    #[error("a peer asked to be dialled at an address that it does not come from")]
    NotItsOwn,
    #[error("a peer asked to be dialled at a private address: p2p.private_addresses allows it")]
    Private,
    #[error("peers ask to be dialled too often")]
    TooOften,
}

pub(crate) struct Behaviour {
    server: server::Behaviour,
    hearsay: Hearsay,
    /// Where peers are seen to come from.
    seen: HashMap<ConnectionId, (PeerId, IpAddr)>,
    /// The dial that was just asked of the swarm.
    asked: Option<ConnectionId>,
    used: HashMap<AddressBlock, Used>,
    used_in_total: Used,
}

fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    match addr.iter().next()? {
        AddrPart::Ip4(ip) => Some(ip.into()),
        AddrPart::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

impl Behaviour {
    pub(crate) fn new(hearsay: Hearsay) -> Self {
        Self {
            server: server::Behaviour::default(),
            hearsay,
            seen: HashMap::new(),
            asked: None,
            used: HashMap::new(),
            used_in_total: Used::nothing(Instant::now()),
        }
    }

    fn judge(
        &mut self,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        now: Instant,
    ) -> Result<(), NotDialled> {
        let [addr] = addrs else {
            return Err(NotDialled::NotItsOwn);
        };
        let ip = ip_of(addr).ok_or(NotDialled::NotItsOwn)?;
        let own = self
            .seen
            .values()
            .any(|seen| peer == Some(seen.0) && ip == seen.1);
        if !own {
            return Err(NotDialled::NotItsOwn);
        }
        if !self.hearsay.may_be_dialled(addr) {
            return Err(NotDialled::Private);
        }
        if self.used.len() >= MAX_ADDRESSES {
            self.used.retain(|_, used| !used.is_rested(now));
        }
        let block = AddressBlock::of_ip(ip);
        if self.used.len() < MAX_ADDRESSES || self.used.contains_key(&block) {
            let used = self.used.entry(block).or_insert(Used::nothing(now));
            if !used.take(PER_ADDRESS, now) {
                return Err(NotDialled::TooOften);
            }
        }
        match self.used_in_total.take(IN_TOTAL, now) {
            true => Ok(()),
            false => Err(NotDialled::TooOften),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <server::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = server::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let server = &mut self.server;
        server.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.asked.take_if(|asked| *asked == connection).is_some() {
            self.judge(peer, addrs, Instant::now()).map_err(|reason| {
                tracing::debug!(?peer, ?addrs, %reason, "did not try to reach a peer");
                ConnectionDenied::new(reason)
            })?;
        }
        let server = &mut self.server;
        server.handle_pending_outbound_connection(connection, peer, addrs, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let server = &mut self.server;
        server.handle_established_outbound_connection(connection, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(opened) if opened.endpoint.is_listener() => {
                if let Some(ip) = ip_of(opened.endpoint.get_remote_address()) {
                    self.seen.insert(opened.connection_id, (opened.peer_id, ip));
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.seen.remove(&closed.connection_id);
            }
            _ => {}
        }
        self.server.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.server
            .on_connection_handler_event(peer, connection, event);
    }

    /// The swarm asks about a dial at once, before it polls again.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let next = self.server.poll(context);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &next {
            self.asked = Some(opts.connection_id());
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(private_addresses: bool, peer: PeerId, from: &str) -> Behaviour {
        let mut server = Behaviour::new(Hearsay { private_addresses });
        let from = from.parse().unwrap();
        let connection = ConnectionId::new_unchecked(1);
        server.seen.insert(connection, (peer, from));
        server
    }

    fn judge(
        server: &mut Behaviour,
        peer: PeerId,
        addr: &str,
        now: Instant,
    ) -> Result<(), NotDialled> {
        server.judge(Some(peer), &[addr.parse().unwrap()], now)
    }

    #[test]
    fn a_peer_is_dialled_where_it_comes_from_and_nowhere_else() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut server = server(true, peer, "192.0.2.1");
        assert!(judge(&mut server, peer, "/ip4/192.0.2.1/tcp/4001", now).is_ok());
        assert!(judge(&mut server, peer, "/ip6/::ffff:192.0.2.1/tcp/4001", now).is_ok());
        for elsewhere in [
            "/ip4/192.0.2.2/tcp/4001",
            "/ip4/127.0.0.1/tcp/22",
            "/dns4/localhost/tcp/22",
        ] {
            let refused = judge(&mut server, peer, elsewhere, now);
            assert!(matches!(refused, Err(NotDialled::NotItsOwn)), "{elsewhere}");
        }
        let stranger = judge(&mut server, PeerId::random(), "/ip4/192.0.2.1/tcp/1", now);
        assert!(matches!(stranger, Err(NotDialled::NotItsOwn)));
    }

    #[test]
    fn a_peer_of_our_own_network_is_dialled_only_if_that_is_wanted() {
        let (peer, now) = (PeerId::random(), Instant::now());
        for (wanted, from) in [
            (false, "127.0.0.1"),
            (false, "10.0.0.1"),
            (true, "10.0.0.1"),
        ] {
            let mut server = server(wanted, peer, from);
            let judged = judge(&mut server, peer, &format!("/ip4/{from}/tcp/22"), now);
            assert_eq!(judged.is_ok(), wanted, "{from}");
        }
    }

    #[test]
    fn nobody_has_himself_dialled_without_end() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut server = server(false, peer, "192.0.2.1");
        let dialled = (1..1000)
            .filter(|port| {
                let addr = format!("/ip4/192.0.2.1/tcp/{port}");
                judge(&mut server, peer, &addr, now).is_ok()
            })
            .count();
        assert_eq!(dialled, PER_ADDRESS.burst as usize);
    }
}
