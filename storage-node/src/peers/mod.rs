//! The node's place in the peer network: who may connect, what is known of others, and what an
//! operator is shown of it.

mod cache;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use network::{
    Admission, AllowList, Discovery, Kademlia, Limits, Multiaddr, NetworkConfig, NetworkHandle,
    PeerPolicy, PeersObserver, PingConfig, Refusal, Target,
};
use proto::{NetworkId, Roles, protocols};

pub(crate) use self::cache::{LearntPeer, PeerCache, keep as keep_cache};
#[cfg(test)]
pub(crate) use self::report::ReachabilityReport;
pub(crate) use self::report::{PeerEntry, PeersReport, Reachability};

use crate::config::Config;

/// What the node says it is.
pub(crate) const SOFTWARE: &str = concat!("storage-node/", env!("CARGO_PKG_VERSION"));

/// What there is to ask of the running peer network.
#[derive(Debug, Clone)]
pub(crate) struct PeerNetwork {
    pub handle: NetworkHandle,
    pub observer: PeersObserver,
    pub guests: Arc<Guests>,
}

/// Who is invited: the coordinators of the network document, and those whom the operator names. Of all who come in,
/// invited or learnt, only the coordinators are served.
#[derive(Debug)]
pub(crate) struct Guests {
    list: AllowList,
    coordinators: RwLock<HashSet<PeerId>>,
    bootstrap: Vec<Target>,
    allowed: Vec<PeerId>,
}

impl Guests {
    pub(crate) fn new(config: &Config) -> Self {
        let bootstrap = config.p2p.bootstrap_peers.iter();
        let bootstrap = bootstrap.map(|peer| peer.0.clone()).collect();
        let allowed = config.p2p.allowed_peers.iter().map(|peer| peer.0);
        Self {
            list: AllowList::new(config.p2p.auth_mode.into(), Roles::NONE, []),
            coordinators: RwLock::default(),
            bootstrap,
            allowed: allowed.collect(),
        }
    }

    pub(crate) fn is_invited(&self, peer: &PeerId) -> bool {
        self.list.is_listed(peer)
    }

    /// Who came in without an invitation, while `p2p.auth_mode` was "learn", and from where.
    pub(crate) fn learnt(&self) -> BTreeMap<PeerId, Multiaddr> {
        self.list.learnt()
    }

    /// What an earlier run has learnt.
    pub(crate) fn remember(&self, learnt: Vec<(PeerId, Multiaddr)>) {
        self.list.remember(learnt);
    }

    /// Invites and serves the coordinators and nobody who is none any more; returns whom to stay connected to.
    pub(crate) fn invite(&self, coordinators: Vec<Target>) -> Vec<Target> {
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

impl Admission for Guests {
    fn admit(&self, peer: PeerId, from: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        self.list.admit(peer, from)
    }

    /// Which peers are coordinators changes with the network document, also for those that are connected.
    fn roles(&self, peer: &PeerId, _: Roles) -> Roles {
        let coordinators = self.coordinators.read();
        match coordinators
            .unwrap_or_else(PoisonError::into_inner)
            .contains(peer)
        {
            true => Roles::COORDINATOR,
            false => Roles::NONE,
        }
    }

    fn may_be_visited(&self, peer: &PeerId) -> bool {
        self.list.may_be_visited(peer)
    }
}

pub(crate) fn network_config(
    config: &Config,
    keypair: Keypair,
    network: NetworkId,
    guests: &Arc<Guests>,
) -> NetworkConfig {
    let p2p = &config.p2p;
    let defaults = NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, Roles::NODE);
    NetworkConfig {
        listen: p2p.listen.clone(),
        external_addrs: p2p.external_addrs.clone(),
        agent: SOFTWARE.to_owned(),
        ping: PingConfig {
            interval: config.ping.interval,
            timeout: config.ping.timeout,
        },
        admission: Arc::<Guests>::clone(guests),
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
            private_addresses: p2p.private_addresses,
            upnp: p2p.upnp,
        },
        ..defaults
    }
}

pub(crate) fn policy(config: &Config) -> PeerPolicy {
    PeerPolicy {
        reconnect: config.reconnect_policy(),
        ping_interval: config.ping.interval,
        ping_failures: config.ping.failures,
        ..PeerPolicy::default()
    }
}
