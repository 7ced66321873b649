//! What is known of one peer.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::connections::Connection;
use super::state::{Change, PeerState, Rtt};
use crate::event::AddrSource;
use crate::hearsay::Scope;

/// Addresses kept of one peer, from each kind of source.
const MAX_ADDRS: usize = 8;

/// A peer at one moment. Times are durations up to that moment, or from it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    pub peer: PeerId,
    pub state: PeerState,
    /// `false` for a connected peer that has been silent for too long.
    pub responsive: bool,
    /// Whether we want to stay connected to it.
    pub target: bool,
    pub connections: usize,
    /// Of the newest connection, or of the last that there was.
    pub addr: Option<Multiaddr>,
    pub dialled: Option<bool>,
    pub connected_for: Option<Duration>,
    /// `None` when it was never connected.
    pub silent_for: Option<Duration>,
    pub rtt: Option<Rtt>,
    /// Ping intervals in a row in which nothing came.
    pub missed_pings: u32,
    /// Dials in a row that came to nothing.
    pub dial_failures: u32,
    pub next_dial_in: Option<Duration>,
    pub last_error: Option<String>,
    pub agent: Option<String>,
    /// Where it may be dialled, beside what the program was told.
    pub addrs: Vec<Multiaddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dial {
    /// Nothing to do: it is connected, or nobody wants it.
    Idle,
    UnderWay,
    Waiting {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Record {
    pub state: PeerState,
    /// In the order in which they were opened.
    pub connections: Vec<Connection>,
    pub connected_at: Option<Instant>,
    pub heard: Option<Instant>,
    pub responsive: bool,
    pub rtt: Option<Rtt>,
    pub dial: Dial,
    pub failures: u32,
    pub last_error: Option<String>,
    pub last_addr: Option<Multiaddr>,
    pub walked: Option<Instant>,
    pub agent: Option<String>,
    /// Where it says that it is.
    own_addrs: Vec<Multiaddr>,
    /// Where others say that it is, the newest first.
    rumoured_addrs: Vec<Multiaddr>,
    /// The last change of anything that matters; records are forgotten in this order.
    pub changed: Instant,
}

impl Record {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: PeerState::Disconnected,
            connections: Vec::new(),
            connected_at: None,
            heard: None,
            responsive: true,
            rtt: None,
            dial: Dial::Idle,
            failures: 0,
            last_error: None,
            last_addr: None,
            walked: None,
            agent: None,
            own_addrs: Vec::new(),
            rumoured_addrs: Vec::new(),
            changed: now,
        }
    }

    /// Carries a change out if it is legal here; one that is not is a fault of this program and is
    /// said so.
    pub(super) fn change(&mut self, peer: &PeerId, change: Change, now: Instant) -> bool {
        match self.state.after(change) {
            Ok(next) => {
                tracing::debug!(%peer, from = self.state.name(), to = next.name(), "a peer changes");
                self.state = next;
                self.changed = now;
                true
            }
            Err(error) => {
                tracing::error!(%peer, %error, "an impossible change of a peer is left out");
                false
            }
        }
    }

    /// Whether any of them is new.
    pub(super) fn learn(&mut self, addrs: Vec<Multiaddr>, source: AddrSource) -> bool {
        // "127.0.0.1" is true for whoever is on the same machine, and "192.168.0.7" for whoever is in the same house;
        // they lead everybody else astray, or to doors that a stranger wants knocked at.
        let from = self.last_addr.as_ref().map_or(Scope::Public, Scope::of);
        let nearest = match source {
            AddrSource::Itself => from,
            // Of the local network, or sifted before it was told.
            AddrSource::Mdns | AddrSource::Kademlia => from.min(Scope::Site),
        };
        let addrs = addrs.into_iter();
        let addrs: Vec<Multiaddr> = addrs.filter(|addr| Scope::of(addr) >= nearest).collect();
        let known = self.addrs();
        let news = addrs.iter().any(|addr| !known.contains(addr));
        match source {
            AddrSource::Itself => {
                self.own_addrs = addrs;
                self.own_addrs.truncate(MAX_ADDRS);
            }
            AddrSource::Mdns | AddrSource::Kademlia => self.remember(addrs),
        }
        news
    }

    /// Takes over addresses from a source that may be right.
    pub(super) fn remember(&mut self, addrs: Vec<Multiaddr>) {
        for addr in addrs {
            self.rumoured_addrs.retain(|known| *known != addr);
            self.rumoured_addrs.insert(0, addr);
        }
        self.rumoured_addrs.truncate(MAX_ADDRS);
    }

    /// Where it was dialled with success, then where it says that it is, then where others say so.
    pub(super) fn addrs(&self) -> Vec<Multiaddr> {
        let mut addrs: Vec<Multiaddr> = Vec::new();
        let dialled = self.connections.iter().filter(|c| c.dialled);
        let dialled = dialled.map(|c| crate::addrs::without_peer(c.addr.clone()));
        let claimed = self.own_addrs.iter().chain(&self.rumoured_addrs).cloned();
        for addr in dialled.chain(claimed) {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        addrs
    }

    pub(super) fn view(
        &self,
        peer: PeerId,
        target: bool,
        interval: Duration,
        now: Instant,
    ) -> PeerView {
        let newest = self.connections.iter().rfind(|c| !c.visit);
        let newest = newest.or(self.connections.last());
        let silent_for = self.heard.map(|heard| now.duration_since(heard));
        let connected = self.state == PeerState::Connected;
        let missed = silent_for.filter(|_| connected).map_or(0, |silent| {
            (silent.as_secs_f64() / interval.as_secs_f64()) as u32
        });
        PeerView {
            peer,
            state: self.state,
            responsive: self.responsive,
            target,
            connections: self.connections.len(),
            addr: newest.map(|c| c.addr.clone()).or(self.last_addr.clone()),
            dialled: newest.map(|c| c.dialled),
            connected_for: self
                .connected_at
                .filter(|_| connected)
                .map(|at| now.duration_since(at)),
            silent_for,
            rtt: self.rtt,
            missed_pings: missed,
            dial_failures: if connected { 0 } else { self.failures },
            next_dial_in: match self.dial {
                Dial::Waiting { until } => Some(until.saturating_duration_since(now)),
                Dial::Idle | Dial::UnderWay => None,
            },
            last_error: self.last_error.clone(),
            agent: self.agent.clone(),
            addrs: self.addrs(),
        }
    }
}
