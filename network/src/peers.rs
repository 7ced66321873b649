//! The peer policy: keeps connections to the peers that a program wants to be connected to.
//!
//! It reads the network's events, owns every timer and decides when to dial; the service only
//! carries it out. One task; its state is not shared.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::{Multiaddr, PeerId};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::backoff::ReconnectPolicy;
use crate::event::{DisconnectReason, NetworkEvent};
use crate::handle::NetworkHandle;

const EVENT_QUEUE: usize = 256;

/// A peer to stay connected to, and where it was last known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub peer_id: PeerId,
    pub addrs: Vec<Multiaddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither `peer_id@multiaddr` nor a multiaddr that ends in /p2p/peer_id: {reason}"
)]
pub struct ParseTargetError {
    text: String,
    reason: String,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let failed = |reason: String| ParseTargetError {
            text: text.to_owned(),
            reason,
        };
        if let Some((peer_id, addr)) = text.split_once('@') {
            return Ok(Self {
                peer_id: peer_id
                    .parse()
                    .map_err(|error| failed(format!("the peer id: {error}")))?,
                addrs: vec![
                    addr.parse()
                        .map_err(|error| failed(format!("the address: {error}")))?,
                ],
            });
        }
        let mut addr: Multiaddr = text.parse().map_err(|error| failed(format!("{error}")))?;
        match addr.pop() {
            Some(AddrPart::P2p(peer_id)) => Ok(Self {
                peer_id,
                addrs: vec![addr],
            }),
            _ => Err(failed("it names no peer".into())),
        }
    }
}

/// What the program is told about its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    Connected {
        peer: PeerId,
        addr: Multiaddr,
    },
    Disconnected {
        peer: PeerId,
        reason: DisconnectReason,
    },
    Ping {
        peer: PeerId,
        rtt: Duration,
    },
}

/// The program's side of a running [`PeerManager`].
pub struct Peers {
    targets: watch::Sender<Vec<Target>>,
    events: mpsc::Receiver<PeerEvent>,
}

impl Peers {
    /// Replaces the set of peers to stay connected to. Peers that are no longer named are left
    /// connected but not dialled again.
    pub fn set_targets(&self, targets: Vec<Target>) {
        self.targets.send_replace(targets);
    }

    /// A sender of targets that outlives this value's borrow.
    pub fn targets(&self) -> watch::Sender<Vec<Target>> {
        self.targets.clone()
    }

    /// `None` when the network has stopped. A reader must not await calls in its loop.
    pub async fn next_event(&mut self) -> Option<PeerEvent> {
        self.events.recv().await
    }
}

pub struct PeerManager {
    network: NetworkHandle,
    policy: ReconnectPolicy,
    rng: StdRng,
    targets: watch::Receiver<Vec<Target>>,
    dials: HashMap<PeerId, DialState>,
    events: mpsc::Sender<PeerEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum DialState {
    Connected,
    Dialing { failures: u32 },
    Waiting { failures: u32, until: Instant },
}

impl PeerManager {
    /// Starts the policy task; it ends when `network_events` does.
    pub fn spawn(
        network: NetworkHandle,
        network_events: mpsc::Receiver<NetworkEvent>,
        policy: ReconnectPolicy,
        rng: StdRng,
    ) -> Peers {
        let (target_sender, targets) = watch::channel(Vec::new());
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        let manager = Self {
            network,
            policy,
            rng,
            targets,
            dials: HashMap::new(),
            events: event_sender,
        };
        tokio::spawn(manager.run(network_events));
        Peers {
            targets: target_sender,
            events,
        }
    }

    async fn run(mut self, mut network_events: mpsc::Receiver<NetworkEvent>) {
        let mut targets_open = true;
        loop {
            let next_dial = self.next_dial();
            tokio::select! {
                event = network_events.recv() => match event {
                    Some(event) => self.handle(event).await,
                    None => return,
                },
                changed = self.targets.changed(), if targets_open => {
                    targets_open = changed.is_ok();
                    self.adopt_targets();
                }
                () = sleep_until(next_dial.unwrap_or_else(Instant::now)), if next_dial.is_some() => {
                    self.dial_due().await;
                }
            }
        }
    }

    fn next_dial(&self) -> Option<Instant> {
        let due = self.dials.values().filter_map(|state| match state {
            DialState::Waiting { until, .. } => Some(*until),
            _ => None,
        });
        due.min()
    }

    /// New targets are dialled at once; dropped ones are forgotten.
    fn adopt_targets(&mut self) {
        let targets = self.targets.borrow_and_update();
        self.dials
            .retain(|peer, _| targets.iter().any(|target| target.peer_id == *peer));
        for target in targets.iter() {
            self.dials
                .entry(target.peer_id)
                .or_insert(DialState::Waiting {
                    failures: 0,
                    until: Instant::now(),
                });
        }
    }

    async fn dial_due(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (peer, state) in &mut self.dials {
            if let DialState::Waiting { failures, until } = *state
                && until <= now
            {
                *state = DialState::Dialing { failures };
                due.push(*peer);
            }
        }
        for peer in due {
            let addrs = {
                let targets = self.targets.borrow();
                let target = targets.iter().find(|target| target.peer_id == peer);
                target
                    .map(|target| target.addrs.clone())
                    .unwrap_or_default()
            };
            self.network.dial(peer, addrs).await;
        }
    }

    async fn handle(&mut self, event: NetworkEvent) {
        let told = match event {
            NetworkEvent::Connected { peer, addr } => {
                if let Some(state) = self.dials.get_mut(&peer) {
                    *state = DialState::Connected;
                }
                PeerEvent::Connected { peer, addr }
            }
            NetworkEvent::Disconnected { peer, reason } => {
                if let Some(state) = self.dials.get_mut(&peer) {
                    let delay = self.policy.after_loss(&mut self.rng);
                    tracing::info!(%peer, ?reason, retry_in = ?delay, "lost a peer");
                    *state = DialState::Waiting {
                        failures: 0,
                        until: Instant::now() + delay,
                    };
                }
                PeerEvent::Disconnected { peer, reason }
            }
            NetworkEvent::DialFailed { peer, error } => {
                self.note_failed_dial(peer, &error);
                return;
            }
            NetworkEvent::Ping { peer, rtt } => {
                // A measurement that nobody reads must not keep lost peers from being dialled.
                let _ = self.events.try_send(PeerEvent::Ping { peer, rtt });
                return;
            }
        };
        let _ = self.events.send(told).await;
    }

    fn note_failed_dial(&mut self, peer: PeerId, error: &str) {
        let Some(state) = self.dials.get_mut(&peer) else {
            return;
        };
        if let DialState::Dialing { failures } = *state {
            let failures = failures.saturating_add(1);
            let delay = self.policy.after_failures(failures, &mut self.rng);
            tracing::info!(%peer, error, failures, retry_in = ?delay, "a peer cannot be reached");
            *state = DialState::Waiting {
                failures,
                until: Instant::now() + delay,
            };
        }
    }
}

#[cfg(test)]
mod tests;
