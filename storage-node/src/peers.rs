//! The node's place in the peer network: who may connect, what is known of others, and what an
//! operator is shown of it.

mod cache;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use network::{
    AllowList, Discovery, Gatekeeper, Kademlia, Limits, Multiaddr, NetworkConfig, NetworkHandle,
    PeerPolicy, PeersObserver, PingConfig, Refusal, Target,
};
use proto::{NetworkId, Side};

pub use self::cache::{CachedPeer, LearntPeer, PeerCache, keep as keep_cache};
pub use self::report::{PeerEntry, PeersReport, Reachability, ReachabilityReport};

use crate::config::Config;

/// What there is to ask of the running peer network.
#[derive(Debug, Clone)]
pub struct PeerNetwork {
    pub handle: NetworkHandle,
    pub observer: PeersObserver,
    pub guests: Arc<Guests>,
}

/// Who is invited: the coordinators of the network document, and those whom the operator names. Of all who come in,
/// invited or learnt, only the coordinators are served.
#[derive(Debug)]
pub struct Guests {
    list: AllowList,
    coordinators: RwLock<HashSet<PeerId>>,
    bootstrap: Vec<Target>,
    allowed: Vec<PeerId>,
}

impl Guests {
    pub fn new(config: &Config) -> Self {
        let bootstrap = config.p2p.bootstrap_peers.iter();
        let bootstrap = bootstrap.map(|peer| peer.0.clone()).collect();
        let allowed = config.p2p.allowed_peers.iter().map(|peer| peer.0);
        Self {
            list: AllowList::new(config.p2p.auth_mode.into(), []),
            coordinators: RwLock::default(),
            bootstrap,
            allowed: allowed.collect(),
        }
    }

    pub fn is_invited(&self, peer: &PeerId) -> bool {
        self.list.is_listed(peer)
    }

    /// Who came in without an invitation, while `p2p.auth_mode` was "learn", and from where.
    pub fn learnt(&self) -> BTreeMap<PeerId, Multiaddr> {
        self.list.learnt()
    }

    /// What an earlier run has learnt.
    pub fn remember(&self, learnt: Vec<(PeerId, Multiaddr)>) {
        self.list.remember(learnt);
    }

    /// Invites and serves the coordinators and nobody who is none any more; returns whom to stay connected to.
    pub fn invite(&self, coordinators: Vec<Target>) -> Vec<Target> {
        let served = coordinators.iter().map(|target| target.peer_id).collect();
        *self
            .coordinators
            .write()
            .unwrap_or_else(PoisonError::into_inner) = served;
        let mut targets = coordinators;
        for peer in &self.bootstrap {
            match targets
                .iter_mut()
                .find(|target| target.peer_id == peer.peer_id)
            {
                Some(known) => known.addrs.extend(peer.addrs.iter().cloned()),
                None => targets.push(peer.clone()),
            }
        }
        let wanted = targets.iter().map(|target| target.peer_id);
        self.list
            .replace(wanted.chain(self.allowed.iter().copied()));
        targets
    }
}

impl Gatekeeper for Guests {
    fn admit(&self, peer: PeerId, from: Multiaddr) -> BoxFuture<'static, Result<(), Refusal>> {
        self.list.admit(peer, from)
    }

    fn is_served(&self, peer: &PeerId) -> bool {
        let coordinators = self.coordinators.read();
        coordinators
            .unwrap_or_else(PoisonError::into_inner)
            .contains(peer)
    }

    fn may_be_visited(&self, peer: &PeerId) -> bool {
        self.list.may_be_visited(peer)
    }
}

pub fn network_config(
    config: &Config,
    keypair: Keypair,
    network: NetworkId,
    guests: &Arc<Guests>,
) -> NetworkConfig {
    let p2p = &config.p2p;
    let defaults = NetworkConfig::new(keypair, Side::Node);
    NetworkConfig {
        listen: p2p.listen.clone(),
        external_addrs: p2p.external_addrs.clone(),
        agent: crate::state::SOFTWARE.to_owned(),
        ping: PingConfig {
            interval: config.ping.interval,
            timeout: config.ping.timeout,
        },
        gatekeeper: Arc::<Guests>::clone(guests),
        limits: Limits {
            connections: p2p.max_connections,
            connections_per_address: p2p.max_connections_per_address,
            pending_incoming: p2p.max_connections.min(defaults.limits.pending_incoming),
            ..defaults.limits
        },
        discovery: Discovery {
            kademlia: p2p.kademlia.mode().map(|mode| Kademlia {
                network: network.to_string(),
                mode,
            }),
            mdns: p2p.mdns,
            autonat: p2p.autonat,
            upnp: p2p.upnp,
        },
        ..defaults
    }
}

pub fn policy(config: &Config) -> PeerPolicy {
    PeerPolicy {
        reconnect: config.reconnect_policy(),
        ping_interval: config.ping.interval,
        ping_failures: config.ping.failures,
        ..PeerPolicy::default()
    }
}
