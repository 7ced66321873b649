//! `peers.json`: addresses that were good once, kept over restarts. With them a node finds its network
//! again though everything that it was told has changed. Beside them, who was learnt without being allowed.
//!
//! It is a help and no more: one that is damaged is left aside, and nothing in it is believed beyond
//! where to try, for whoever answers has to prove its identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use kit::{Clock, private_file};
use network::{Multiaddr, PeerId, PeerView, PeersObserver, can_be_dialled};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Guests;

const MAX_PEERS: usize = 256;
const MAX_ADDRS: usize = 8;
const SAVE_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerCache {
    pub peers: Vec<CachedPeer>,
    #[serde(default)]
    pub learnt: Vec<LearntPeer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedPeer {
    pub peer_id: String,
    pub addrs: Vec<String>,
    pub last_seen_at: Timestamp,
}

/// A peer that came in though nobody had allowed it, and the address that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LearntPeer {
    pub peer_id: String,
    pub from: String,
}

impl LearntPeer {
    pub(crate) fn all(guests: &Guests) -> Vec<Self> {
        let learnt = guests.learnt().into_iter();
        let entry = |(peer, from): (PeerId, Multiaddr)| Self {
            peer_id: peer.to_string(),
            from: from.to_string(),
        };
        learnt.map(entry).collect()
    }
}

impl PeerCache {
    /// Damaged ones count as none.
    pub(crate) fn load(path: &Path) -> Self {
        private_file::read_json(path)
            .inspect_err(|error| {
                tracing::warn!(error = format!("{error:#}"), "starting without known peers");
            })
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    fn save(&self, path: &Path) -> Result<()> {
        private_file::write_json(path, self)
    }

    /// Those that were ever connected, wanted ones first and then the latest.
    pub(crate) fn of(views: &[PeerView], now: Timestamp) -> Self {
        let mut seen: Vec<(bool, Duration, &PeerView)> = views
            .iter()
            .filter(|view| !view.addrs.is_empty())
            .filter_map(|view| Some((!view.target, view.silent_for?, view)))
            .collect();
        seen.sort_by_key(|(unwanted, silent_for, view)| (*unwanted, *silent_for, view.peer));
        let entry = |(_, silent_for, view): (bool, Duration, &PeerView)| {
            let ago = SignedDuration::try_from(silent_for).unwrap_or(SignedDuration::MAX);
            CachedPeer {
                peer_id: view.peer.to_string(),
                addrs: view
                    .addrs
                    .iter()
                    .take(MAX_ADDRS)
                    .map(ToString::to_string)
                    .collect(),
                last_seen_at: now.saturating_sub(ago).unwrap_or(Timestamp::MIN),
            }
        };
        Self {
            peers: seen.into_iter().take(MAX_PEERS).map(entry).collect(),
            learnt: Vec::new(),
        }
    }

    /// Of those that were learnt, what can be read.
    pub(crate) fn learnt(&self) -> Vec<(PeerId, Multiaddr)> {
        let learnt = self.learnt.iter();
        let read = |peer: &LearntPeer| Some((peer.peer_id.parse().ok()?, peer.from.parse().ok()?));
        learnt.filter_map(read).collect()
    }

    /// What of it can be used.
    pub(crate) fn known(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let peers = self.peers.iter().take(MAX_PEERS);
        let known = peers.filter_map(|peer| {
            let addrs = peer.addrs.iter().take(MAX_ADDRS);
            let addrs = addrs.filter_map(|addr| addr.parse().ok().filter(can_be_dialled));
            Some((peer.peer_id.parse().ok()?, addrs.collect()))
        });
        known.collect()
    }

    /// Whether anything differs but the times.
    fn tells_more_than(&self, other: &Self) -> bool {
        let facts = |cache: &Self| {
            let facts = cache.peers.iter();
            facts
                .map(|peer| (peer.peer_id.clone(), peer.addrs.clone()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        facts(self) != facts(other) || self.learnt != other.learnt
    }
}

/// Brings the cache to disk now and then, and once more when it is cancelled.
pub(crate) async fn keep(
    path: PathBuf,
    observer: PeersObserver,
    guests: Arc<Guests>,
    earlier: PeerCache,
    clock: Clock,
    cancel: CancellationToken,
) {
    let mut saved = earlier;
    loop {
        let pause = cancel.run_until_cancelled(tokio::time::sleep(SAVE_EVERY));
        let last = pause.await.is_none();
        let cache = PeerCache {
            learnt: LearntPeer::all(&guests),
            ..PeerCache::of(&observer.view().await, clock.now())
        };
        // A run that has met nobody knows less than the one before it.
        if !cache.peers.is_empty() && (last || cache.tells_more_than(&saved)) {
            let (path, written) = (path.clone(), cache.clone());
            match spawn_blocking(move || written.save(&path)).await {
                Ok(Ok(())) => saved = cache,
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "peers are not remembered");
                }
                Err(error) => tracing::warn!(%error, "peers are not remembered"),
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use network::PeerState;

    use super::*;

    fn view(silent_for: Option<u64>, target: bool, addrs: &[&str]) -> PeerView {
        PeerView {
            peer: PeerId::random(),
            state: PeerState::Disconnected,
            responsive: true,
            target,
            connections: 0,
            addr: None,
            dialled: None,
            connected_for: None,
            silent_for: silent_for.map(Duration::from_secs),
            rtt: None,
            missed_pings: 0,
            dial_failures: 0,
            next_dial_in: None,
            last_error: None,
            agent: None,
            addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn those_who_were_met_are_kept_the_wanted_and_the_latest_first() {
        let addr = "/ip4/192.0.2.1/tcp/1";
        let views = [
            view(Some(9), false, &[addr]),
            view(Some(1), false, &[addr]),
            view(Some(99), true, &[addr]),
            view(None, true, &[addr]), // never met
            view(Some(1), false, &[]), // nowhere to be found
        ];
        let now: Timestamp = "2026-01-01T00:01:39Z".parse().unwrap();
        let cache = PeerCache::of(&views, now);
        let kept: Vec<_> = cache.known().into_iter().map(|(peer, _)| peer).collect();
        assert_eq!(kept, [2, 1, 0].map(|at: usize| views[at].peer));
        assert_eq!(
            cache.peers[0].last_seen_at.to_string(),
            "2026-01-01T00:00:00Z"
        );
    }

    #[test]
    fn what_cannot_be_used_is_left_out_and_what_is_too_much_is_cut() {
        let mut cache = PeerCache::default();
        for peer_id in ["nobody".to_owned(), PeerId::random().to_string()] {
            cache.peers.push(CachedPeer {
                peer_id,
                addrs: vec![
                    "/memory/1".into(),
                    "x".into(),
                    "/ip4/192.0.2.1/tcp/1".into(),
                ],
                last_seen_at: Timestamp::UNIX_EPOCH,
            });
        }
        let known = cache.known();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].1.len(), 1);
        let crowd: Vec<_> = (0..2 * MAX_PEERS)
            .map(|_| view(Some(1), false, &["/ip4/192.0.2.1/tcp/1"]))
            .collect();
        assert_eq!(
            PeerCache::of(&crowd, Timestamp::UNIX_EPOCH).peers.len(),
            MAX_PEERS
        );
    }
}
