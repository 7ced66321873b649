//! `GET /peers`: the peer network as the node sees it.

use std::time::Duration;

use network::{NetworkStatus, PeerId, PeerView, Upnp};
use serde::{Deserialize, Serialize};

use super::{LearntPeer, PeerNetwork};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeersReport {
    pub peer_id: String,
    pub listen_addrs: Vec<String>,
    pub reachability: ReachabilityReport,
    /// Peers in the Kademlia table; `None` where it is off.
    pub kademlia_peers: Option<usize>,
    /// Whether the node answers others that walk through the table.
    pub kademlia_serves: bool,
    pub peers: Vec<PeerEntry>,
    /// Peers that came in though they are not allowed, in this run and earlier ones.
    #[serde(default)]
    pub learnt: Vec<LearntPeer>,
}

/// Whether others could open a connection to this node. None has to: outbound connections suffice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReachabilityReport {
    pub outcome: Reachability,
    /// Addresses at which others reach this node.
    pub external_addrs: Vec<String>,
    /// Addresses at which others tried, in vain, and why.
    pub unreachable: Vec<(String, String)>,
    pub upnp: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reachability {
    Public,
    /// Others have tried and failed.
    Private,
    /// Nobody has tried yet.
    Unknown,
}

/// A peer. Times are milliseconds before now, or from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerEntry {
    pub peer_id: String,
    pub coordinator: bool,
    /// Named in `p2p.bootstrap_peers`, or a coordinator: the node stays connected to it.
    pub wanted: bool,
    /// Whether it may connect when `p2p.auth_mode` is "enforce".
    pub allowed: bool,
    /// connected, disconnected or failed
    pub state: String,
    pub responsive: bool,
    pub addr: Option<String>,
    pub connected_ms: Option<u64>,
    pub last_seen_ms: Option<u64>,
    pub rtt_last_ms: Option<f64>,
    pub rtt_lowest_ms: Option<f64>,
    pub rtt_smoothed_ms: Option<f64>,
    pub missed_pings: u32,
    pub dial_failures: u32,
    pub next_dial_ms: Option<u64>,
    pub last_error: Option<String>,
    pub software: Option<String>,
}

impl PeersReport {
    pub(crate) async fn of(peers: &PeerNetwork, is_coordinator: impl Fn(&PeerId) -> bool) -> Self {
        let (status, views) = tokio::join!(peers.handle.status(), peers.observer.view());
        let texts = |addrs: &[network::Multiaddr]| addrs.iter().map(ToString::to_string).collect();
        Self {
            peer_id: peers.handle.local_peer_id().to_string(),
            listen_addrs: texts(&status.listen_addrs),
            reachability: ReachabilityReport::of(&status),
            kademlia_peers: status.kademlia.map(|kademlia| kademlia.peers),
            kademlia_serves: status.kademlia.is_some_and(|kademlia| kademlia.serves),
            peers: views
                .into_iter()
                .map(|view| {
                    let (coordinator, allowed) = (
                        is_coordinator(&view.peer),
                        peers.guests.is_invited(&view.peer),
                    );
                    PeerEntry::of(coordinator, allowed, view)
                })
                .collect(),
            learnt: LearntPeer::all(&peers.guests),
        }
    }
}

impl ReachabilityReport {
    fn of(status: &NetworkStatus) -> Self {
        let failed = status.probes.iter().filter_map(|probe| {
            let reason = probe.outcome.as_ref().err()?;
            Some((probe.addr.to_string(), reason.clone()))
        });
        let unreachable: Vec<_> = failed.collect();
        let outcome = match (status.external_addrs.is_empty(), unreachable.is_empty()) {
            (false, _) => Reachability::Public,
            (true, false) => Reachability::Private,
            (true, true) => Reachability::Unknown,
        };
        Self {
            outcome,
            external_addrs: status
                .external_addrs
                .iter()
                .map(ToString::to_string)
                .collect(),
            unreachable,
            upnp: match status.upnp {
                Upnp::Unknown => "not asked, or no answer yet",
                Upnp::Forwarded => "the router forwards our port",
                Upnp::NoGateway => "no router here speaks UPnP",
                Upnp::GatewayNotPublic => "the router itself has no public address",
            }
            .to_owned(),
        }
    }
}

impl PeerEntry {
    fn of(coordinator: bool, allowed: bool, view: PeerView) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let fine = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Self {
            peer_id: view.peer.to_string(),
            coordinator,
            wanted: view.target,
            allowed,
            state: view.state.name().to_owned(),
            responsive: view.responsive,
            addr: view.addr.map(|addr| addr.to_string()),
            connected_ms: view.connected_for.map(ms),
            last_seen_ms: view.silent_for.map(ms),
            rtt_last_ms: view.rtt.map(|rtt| fine(rtt.last)),
            rtt_lowest_ms: view.rtt.map(|rtt| fine(rtt.lowest)),
            rtt_smoothed_ms: view.rtt.map(|rtt| fine(rtt.smoothed)),
            missed_pings: view.missed_pings,
            dial_failures: view.dial_failures,
            next_dial_ms: view.next_dial_in.map(ms),
            last_error: view.last_error,
            software: view.agent,
        }
    }
}
