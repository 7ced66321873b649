//! The coordinators of the pinned network document, and how the node stands with each of them.
//!
//! Who is not in here is not served. In memory only: what a coordinator thinks of the node comes again with the
//! next heartbeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kit::Clock;
use libp2p_identity::PeerId;
use proto::HeartbeatAnswer;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

/// States of a node in the network, as coordinators name them.
pub(crate) const DRAINING: &str = "draining";
pub(crate) const DRAINED: &str = "drained";

/// Clocks that differ by more are not to be trusted with what cannot be taken back.
const CLOCKS_AGREE_MS: u64 = 5 * 60 * 1000;
/// How long a request of a coordinator waits for its answer to our greeting: as long as that exchange may take.
const GREETED_WITHIN: Duration = Duration::from_secs(10);

/// What has come of our `hello` on the connection that stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Greeting {
    #[default]
    Unanswered,
    Answered,
    /// Another copy of this node is the one that counts.
    Elsewhere,
}

/// How the node stands with one coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CoordinatorStatus {
    pub connected: bool,
    pub accepted: bool,
    /// Why the coordinator does not accept the node.
    pub rejection: Option<String>,
    /// probation, active, suspended, …
    pub state: String,
    pub state_reason: String,
    pub earned_microcredits: i64,
    pub last_heartbeat_at: Option<Timestamp>,
    /// How much the coordinator's clock is ahead of ours.
    pub clock_difference_ms: Option<i64>,
    #[serde(skip)]
    pub greeting: Greeting,
}

#[derive(Debug)]
pub(crate) struct Coordinators {
    clock: Clock,
    known: Mutex<BTreeMap<PeerId, CoordinatorStatus>>,
    changed: Notify,
}

impl Coordinators {
    /// None, until a network document names some.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            known: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.lock().contains_key(peer)
    }

    /// Those that stay keep their status.
    pub(crate) fn replace(&self, peers: &[PeerId]) {
        let mut known = self.lock();
        known.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            known.entry(*peer).or_default();
        }
    }

    pub(crate) fn statuses(&self) -> BTreeMap<PeerId, CoordinatorStatus> {
        self.lock().clone()
    }

    /// Whether a connected coordinator has told a time that is about this machine's. A clock that jumps must not end
    /// the time in which what was thrown away can be brought back.
    pub(crate) fn agree_on_the_time(&self) -> bool {
        let known = self.lock();
        let mut connected = known.values().filter(|status| status.connected);
        connected.any(|status| {
            let difference = status.clock_difference_ms.map(i64::unsigned_abs);
            difference.is_some_and(|difference| difference <= CLOCKS_AGREE_MS)
        })
    }

    pub(crate) fn has_connection(&self) -> bool {
        self.lock().values().any(|status| status.connected)
    }

    /// Those that have taken the node.
    pub(crate) fn accepted_by(&self) -> Vec<PeerId> {
        let known = self.lock();
        let accepted = known.iter().filter(|(_, status)| status.accepted);
        accepted.map(|(peer, _)| *peer).collect()
    }

    /// Whether a connected coordinator says that the node is leaving, or has left: the state of a drain
    /// is the network's, and what the node knows of it comes with heartbeats.
    pub(crate) fn say_it_drains(&self) -> bool {
        let known = self.lock();
        let mut connected = known.values().filter(|status| status.connected);
        connected.any(|status| [DRAINING, DRAINED].contains(&status.state.as_str()))
    }

    /// A coordinator has just agreed to drain the node: no new blobs, without waiting to hear it again.
    pub(crate) fn note_draining(&self) {
        for status in self.lock().values_mut() {
            DRAINING.clone_into(&mut status.state);
        }
    }

    pub(crate) fn note(&self, peer: &PeerId, change: impl FnOnce(&mut CoordinatorStatus)) {
        if let Some(status) = self.lock().get_mut(peer) {
            change(status);
        }
        self.changed.notify_waiters();
    }

    /// Whether to serve a coordinator. What it asks before it has answered our greeting waits for the answer: a copy of this
    /// node that is connected for a moment must sign for nothing that the other one will be asked for.
    pub(crate) async fn may_be_served(&self, peer: &PeerId) -> bool {
        let answered = async {
            loop {
                let changed = self.changed.notified();
                let greeting = self.lock().get(peer).map(|status| status.greeting);
                match greeting {
                    Some(Greeting::Unanswered) => changed.await,
                    greeting => return greeting == Some(Greeting::Answered),
                }
            }
        };
        timeout(GREETED_WITHIN, answered).await.unwrap_or(false)
    }

    pub(crate) fn note_heartbeat(&self, peer: &PeerId, answer: &HeartbeatAnswer) {
        let now = self.clock.now();
        self.note(peer, |status| {
            if status.state != answer.state {
                let HeartbeatAnswer {
                    state,
                    state_reason,
                    ..
                } = answer;
                tracing::info!(%peer, state, reason = state_reason, "the coordinator says how the node stands");
                if state == DRAINED {
                    tracing::warn!(
                        "this node has drained: it holds nothing any more, gets nothing, and may be \
                         stopped for good (`storage-node drain` shows its final statement). To give \
                         space again, run `storage-node init` with another data directory"
                    );
                }
            }
            status.state.clone_from(&answer.state);
            status.state_reason.clone_from(&answer.state_reason);
            status.earned_microcredits = answer.earned.get();
            status.last_heartbeat_at = Some(now);
            let theirs = i64::try_from(answer.server_time_ms).ok();
            status.clock_difference_ms =
                theirs.and_then(|theirs| theirs.checked_sub(now.as_millisecond()));
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, CoordinatorStatus>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proto::MicroCredits;

    use super::*;

    #[test]
    fn a_clock_is_trusted_when_a_coordinator_that_is_connected_agrees_with_it() {
        let clock = Clock::from(kit::SimulatedClock::new(
            Timestamp::from_second(1_800_000_000).unwrap(),
        ));
        let now_ms = 1_800_000_000_000;
        let peers = [PeerId::random(), PeerId::random()];
        let coordinators = Coordinators::new(clock);
        coordinators.replace(&peers);
        let told = |peer: &PeerId, server_time_ms| {
            coordinators.note(peer, |status| status.connected = true);
            let answer = HeartbeatAnswer {
                earned: MicroCredits::ZERO,
                server_time_ms,
                state: String::new(),
                state_reason: String::new(),
                network_serial: 0,
                last_ledger_day: None,
            };
            coordinators.note_heartbeat(peer, &answer);
        };
        assert!(
            !coordinators.agree_on_the_time(),
            "nobody has told the time"
        );
        told(&peers[0], now_ms - 72 * 3600 * 1000);
        assert!(!coordinators.agree_on_the_time());
        told(&peers[1], now_ms + 1000);
        assert!(coordinators.agree_on_the_time());
        coordinators.note(&peers[1], |status| status.connected = false);
        assert!(!coordinators.agree_on_the_time(), "what it told may be old");
    }
}
