//! When targets are dialled: at once, after growing pauses, after a rest.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::agenda::Due;
use super::record::Dial;
use super::{Change, PeerEvent, PeerManager, PeerState};
use crate::event::{AddrSource, DisconnectReason};

/// A connection that ends sooner is no success: whoever refuses us behind the handshake does it then.
const SETTLED: Duration = Duration::from_secs(5);

/// From so many failures in a row on, others are asked where the peer is.
const WALK_AFTER_FAILURES: u32 = 2;

/// Addresses tried in one dial.
const MAX_DIALLED: usize = 16;

impl PeerManager {
    /// New targets are dialled at once; dropped ones are left as they are.
    pub(super) fn adopt_targets(&mut self) {
        let now = Instant::now();
        let targets = self.targets.borrow_and_update().clone();
        for (peer, record) in &mut self.records {
            if targets.iter().all(|target| target.peer_id != *peer) {
                record.dial = Dial::Idle;
            }
        }
        for target in targets {
            let peer = target.peer_id;
            let record = self.record(peer, now);
            // Those that are waiting or connected go on as they are.
            if record.dial == Dial::Idle && record.state != PeerState::Connected {
                self.dial_at(peer, now);
            }
        }
    }

    fn dial_at(&mut self, peer: PeerId, at: Instant) {
        if let Some(record) = self.records.get_mut(&peer) {
            record.dial = Dial::Waiting { until: at };
            self.agenda.add(at, peer, Due::Dial);
        }
    }

    pub(super) async fn dial_if_due(&mut self, peer: PeerId, now: Instant) {
        let Some(target) = self.target(&peer) else {
            return;
        };
        let Some(record) = self.records.get_mut(&peer) else {
            return;
        };
        match record.dial {
            Dial::Waiting { until } if until <= now => {}
            _ => return,
        }
        if record.state == PeerState::Failed {
            record.change(&peer, Change::Rested, now);
        }
        record.dial = Dial::UnderWay;
        let mut addrs = target.addrs;
        for addr in record.addrs() {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        addrs.truncate(MAX_DIALLED);
        self.network.dial(peer, addrs).await;
    }

    pub(super) fn note_lost(&mut self, peer: PeerId, reason: &DisconnectReason, now: Instant) {
        let wanted = self.target(&peer).is_some();
        let Some(record) = self.records.get_mut(&peer) else {
            return;
        };
        if !record.change(&peer, Change::Lost, now) {
            return;
        }
        let stood = record
            .connected_at
            .map_or(Duration::ZERO, |at| now.duration_since(at));
        record.connected_at = None;
        record.responsive = true;
        record.connections.clear();
        if let DisconnectReason::Error(error) = reason {
            record.last_error = Some(error.clone());
        }
        if !wanted {
            record.failures = 0;
            return;
        }
        let spread = self.policy.reconnect.after_loss(&mut self.rng);
        let delay = if stood < SETTLED {
            record.failures = record.failures.saturating_add(1);
            let backoff = self
                .policy
                .reconnect
                .after_failures(record.failures, &mut self.rng);
            backoff.max(spread)
        } else {
            record.failures = 0;
            spread
        };
        tracing::info!(%peer, ?reason, ?stood, retry_in = ?delay, "lost a peer");
        self.dial_at(peer, now + delay);
    }

    pub(super) async fn note_failed_dial(
        &mut self,
        peer: PeerId,
        error: String,
        now: Instant,
    ) -> Option<PeerEvent> {
        let wanted = self.target(&peer).is_some();
        let (policy, walk_every) = (self.policy.reconnect, self.policy.walk_every);
        let record = self.records.get_mut(&peer)?;
        if record.dial != Dial::UnderWay {
            return None;
        }
        record.dial = Dial::Idle;
        record.failures = record.failures.saturating_add(1);
        record.last_error = Some(error.clone());
        record.changed = now;
        if !wanted || record.state == PeerState::Connected {
            return None;
        }
        let failures = record.failures;
        let gave_up = failures.is_multiple_of(policy.attempts.max(1))
            && record.change(&peer, Change::GaveUp, now);
        let walked = record.walked;
        if failures >= WALK_AFTER_FAILURES
            && walked.is_none_or(|at| now.duration_since(at) >= walk_every)
        {
            record.walked = Some(now);
            self.network.find_peer(peer).await;
        }
        let delay = policy.after_failures(failures, &mut self.rng);
        tracing::info!(%peer, error, failures, retry_in = ?delay, "a peer cannot be reached");
        self.dial_at(peer, now + delay);
        gave_up.then_some(PeerEvent::Failed { peer, error })
    }

    /// A target that waits is dialled at its new address soon, though not faster than after a first
    /// failure: whoever makes addresses up does not set the pace.
    pub(super) fn note_addrs(
        &mut self,
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        source: AddrSource,
        now: Instant,
    ) {
        let (wanted, pause) = (self.target(&peer).is_some(), self.policy.reconnect.initial);
        let record = self.record(peer, now);
        let news = record.learn(addrs, source);
        if let Dial::Waiting { until } = record.dial
            && wanted
            && news
        {
            let soonest = (record.changed + pause).max(now);
            if soonest < until {
                self.dial_at(peer, soonest);
            }
        }
    }
}
