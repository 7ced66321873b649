//! The peer policy: who is connected and responsive, whom to dial when, which connection stays.
//!
//! It reads the network's events, owns every timer and decides; the service only carries it out. One
//! task; its state is not shared, and whoever wants to see it asks for a snapshot.
//!
//! Rejected: judging by libp2p's ping, which swallows a first failure and renegotiates for 10 s. Any
//! sign of life counts here, and silence is measured by a clock of our own.

mod agenda;
mod connections;
mod dialling;
mod record;
mod state;

use std::collections::HashMap;
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

pub use self::record::PeerView;
pub use self::state::{Change, IllegalChange, PeerState, Rtt};

use self::agenda::{Agenda, Due};
use self::connections::{Connection, superseded};
use self::record::{Dial, Record};
use crate::addrs::Target;
use crate::backoff::ReconnectPolicy;
use crate::event::{DisconnectReason, NetworkEvent};
use crate::handle::NetworkHandle;

const EVENT_QUEUE: usize = 256;
const QUESTION_QUEUE: usize = 16;

/// How soon a request of an unresponsive peer is noticed; a pong is at once.
const RECOVERY_EVERY: Duration = Duration::from_secs(1);

/// Peers that are remembered though they are gone and nobody wants them.
const MAX_REMEMBERED: usize = 4096;

/// How peers are watched and dialled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerPolicy {
    pub reconnect: ReconnectPolicy,
    /// Time between two pings of a peer of which nothing else is heard.
    pub ping_interval: Duration,
    /// A peer is unresponsive when nothing has been received for this many intervals.
    pub ping_failures: u32,
    /// A connection that another has replaced may finish what it carries for this long.
    pub drain: Duration,
    /// A connection that discovery opened is closed after this time.
    pub visit: Duration,
    /// Others are asked where an unreachable target is, at most so often.
    pub walk_every: Duration,
}

impl Default for PeerPolicy {
    fn default() -> Self {
        Self {
            reconnect: ReconnectPolicy::default(),
            ping_interval: Duration::from_secs(5),
            ping_failures: 3,
            drain: Duration::from_secs(5),
            visit: Duration::from_secs(60),
            walk_every: Duration::from_secs(30),
        }
    }
}

impl PeerPolicy {
    /// How long a peer may be silent.
    pub fn silence_timeout(&self) -> Duration {
        self.ping_interval.saturating_mul(self.ping_failures.max(1))
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
    /// Connected, and silent for longer than the policy allows.
    Unresponsive {
        peer: PeerId,
        silent_for: Duration,
    },
    /// An unresponsive peer has given a sign of life.
    Recovered {
        peer: PeerId,
        silent_for: Duration,
    },
    /// As many dials in a row as the policy allows have failed; dialling rests.
    Failed {
        peer: PeerId,
        error: String,
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
    observer: PeersObserver,
}

/// Looks at peers and tells of them, from anywhere in the program.
#[derive(Debug, Clone)]
pub struct PeersObserver(mpsc::Sender<Question>);

#[derive(Debug)]
enum Question {
    View(oneshot::Sender<Vec<PeerView>>),
    Remember(Vec<(PeerId, Vec<Multiaddr>)>),
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

    pub fn observer(&self) -> PeersObserver {
        self.observer.clone()
    }

    /// `None` when the network has stopped. A reader must not await calls in its loop.
    pub async fn next_event(&mut self) -> Option<PeerEvent> {
        self.events.recv().await
    }
}

impl PeersObserver {
    /// All peers that are connected, wanted or remembered, in the order of their ids; none when the
    /// policy has ended.
    pub async fn view(&self) -> Vec<PeerView> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send(Question::View(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Addresses from an earlier run.
    pub async fn remember(&self, known: Vec<(PeerId, Vec<Multiaddr>)>) {
        let _ = self.0.send(Question::Remember(known)).await;
    }
}

pub struct PeerManager {
    network: NetworkHandle,
    policy: PeerPolicy,
    rng: StdRng,
    targets: watch::Receiver<Vec<Target>>,
    records: HashMap<PeerId, Record>,
    agenda: Agenda,
    events: mpsc::Sender<PeerEvent>,
}

impl PeerManager {
    /// Starts the policy task; it ends when `network_events` does.
    pub fn spawn(
        network: NetworkHandle,
        network_events: mpsc::Receiver<NetworkEvent>,
        policy: PeerPolicy,
        rng: StdRng,
    ) -> Peers {
        let (target_sender, targets) = watch::channel(Vec::new());
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        let (question_sender, questions) = mpsc::channel(QUESTION_QUEUE);
        let manager = Self {
            network,
            policy,
            rng,
            targets,
            records: HashMap::new(),
            agenda: Agenda::default(),
            events: event_sender,
        };
        tokio::spawn(manager.run(network_events, questions));
        Peers {
            targets: target_sender,
            events,
            observer: PeersObserver(question_sender),
        }
    }

    async fn run(
        mut self,
        mut network_events: mpsc::Receiver<NetworkEvent>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let (mut targets_open, mut questions_open) = (true, true);
        loop {
            let next = self.agenda.first();
            tokio::select! {
                event = network_events.recv() => match event {
                    Some(event) => self.handle(event).await,
                    None => return,
                },
                changed = self.targets.changed(), if targets_open => {
                    targets_open = changed.is_ok();
                    self.adopt_targets();
                }
                question = questions.recv(), if questions_open => match question {
                    Some(question) => {
                        self.catch_up(&mut network_events).await;
                        self.answer(question).await;
                    }
                    None => questions_open = false,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    // Nobody is judged while signs of life are still in the queue.
                    self.catch_up(&mut network_events).await;
                    self.do_what_is_due().await;
                }
            }
        }
    }

    async fn catch_up(&mut self, network_events: &mut mpsc::Receiver<NetworkEvent>) {
        for _ in 0..network_events.len() {
            if let Ok(event) = network_events.try_recv() {
                self.handle(event).await;
            }
        }
    }

    async fn answer(&mut self, question: Question) {
        match question {
            Question::View(reply) => {
                let peers: Vec<PeerId> = self.records.keys().copied().collect();
                for peer in peers {
                    self.listen(peer).await;
                }
                let _ = reply.send(self.view());
            }
            Question::Remember(known) => {
                let now = Instant::now();
                for (peer, addrs) in known.into_iter().take(MAX_REMEMBERED) {
                    self.record(peer, now).remember(addrs.clone());
                    self.network.add_addrs(peer, addrs).await;
                }
            }
        }
    }

    fn view(&self) -> Vec<PeerView> {
        let (now, targets) = (Instant::now(), self.targets.borrow());
        let is_target = |peer: &PeerId| targets.iter().any(|target| target.peer_id == *peer);
        let interval = self.policy.ping_interval;
        let views = self
            .records
            .iter()
            .map(|(peer, record)| record.view(*peer, is_target(peer), interval, now));
        let mut views: Vec<PeerView> = views.collect();
        views.sort_by_key(|view| view.peer);
        views
    }

    fn target(&self, peer: &PeerId) -> Option<Target> {
        let targets = self.targets.borrow();
        targets
            .iter()
            .find(|target| target.peer_id == *peer)
            .cloned()
    }

    /// The record of a peer, made when there is none; to make room, whoever is gone for longest and
    /// unwanted is forgotten.
    fn record(&mut self, peer: PeerId, now: Instant) -> &mut Record {
        if !self.records.contains_key(&peer) && self.records.len() >= MAX_REMEMBERED {
            let targets = self.targets.borrow();
            let idle = self.records.iter().filter(|(peer, record)| {
                record.connections.is_empty()
                    && targets.iter().all(|target| target.peer_id != **peer)
            });
            let oldest = idle.min_by_key(|(_, record)| record.changed);
            let oldest = oldest.map(|(peer, _)| *peer);
            drop(targets);
            if let Some(oldest) = oldest {
                self.records.remove(&oldest);
            }
        }
        self.records.entry(peer).or_insert_with(|| Record::new(now))
    }

    async fn handle(&mut self, event: NetworkEvent) {
        let now = Instant::now();
        let told = match event {
            NetworkEvent::ConnectionOpened {
                peer,
                connection,
                addr,
                dialled,
            } => return self.note_opened(peer, connection, addr, dialled, now),
            NetworkEvent::ConnectionClosed { peer, connection } => {
                if let Some(record) = self.records.get_mut(&peer) {
                    record.connections.retain(|c| c.id != connection);
                }
                return;
            }
            NetworkEvent::Connected { peer, addr } => {
                self.note_connected(peer, addr.clone(), now);
                Some(PeerEvent::Connected { peer, addr })
            }
            NetworkEvent::Disconnected { peer, reason } => {
                self.listen(peer).await;
                self.network.signs().forget(&peer);
                self.note_lost(peer, &reason, now);
                Some(PeerEvent::Disconnected { peer, reason })
            }
            NetworkEvent::DialFailed { peer, error } => {
                self.note_failed_dial(peer, error, now).await
            }
            NetworkEvent::Ping { peer, rtt } => {
                if let Some(record) = self.records.get_mut(&peer) {
                    record.rtt = Some(record.rtt.map_or(Rtt::first(rtt), |known| known.with(rtt)));
                }
                // A measurement that nobody reads must not keep lost peers from being dialled.
                let _ = self.events.try_send(PeerEvent::Ping { peer, rtt });
                self.note_life(peer, now)
            }
            NetworkEvent::Discovered {
                peer,
                addrs,
                source,
            } => return self.note_addrs(peer, addrs, source, now),
            NetworkEvent::Identified { peer, agent } => {
                if let Some(record) = self.records.get_mut(&peer) {
                    record.agent = Some(agent);
                }
                self.note_life(peer, now)
            }
        };
        if let Some(told) = told {
            let _ = self.events.send(told).await;
        }
    }

    fn note_opened(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        addr: Multiaddr,
        dialled: bool,
        now: Instant,
    ) {
        let local = self.network.local_peer_id();
        let visit = match self.target(&peer) {
            Some(target) => !dialled && target.answers_only,
            None => dialled,
        };
        let (drain, visit_for) = (self.policy.drain, self.policy.visit);
        let record = self.record(peer, now);
        if dialled && !visit {
            record.remember(vec![crate::addrs::without_peer(addr.clone())]);
        }
        record.last_addr = Some(addr.clone());
        record.connections.push(Connection {
            id,
            addr,
            dialled,
            visit,
        });
        let replaced = superseded(&local, &peer, &record.connections);
        for old in replaced {
            self.agenda.add(now + drain, peer, Due::Drain(old));
        }
        if dialled && visit {
            self.agenda.add(now + visit_for, peer, Due::EndVisit(id));
        }
    }

    fn note_connected(&mut self, peer: PeerId, addr: Multiaddr, now: Instant) {
        let timeout = self.policy.silence_timeout();
        let record = self.record(peer, now);
        if record.change(&peer, Change::Connected, now) {
            record.connected_at = Some(now);
            record.heard = Some(now);
            record.responsive = true;
            record.last_addr = Some(addr);
            record.last_error = None;
            record.dial = Dial::Idle;
            self.agenda.add(now + timeout, peer, Due::Silence);
        }
    }

    /// Looks for signs of life that nobody was told of: requests and responses.
    async fn listen(&mut self, peer: PeerId) {
        if let Some(at) = self.network.signs().last(&peer)
            && let Some(recovered) = self.note_life(peer, at)
        {
            let _ = self.events.send(recovered).await;
        }
    }

    fn note_life(&mut self, peer: PeerId, at: Instant) -> Option<PeerEvent> {
        let record = self.records.get_mut(&peer)?;
        if record.state != PeerState::Connected || record.heard.is_some_and(|heard| heard >= at) {
            return None;
        }
        let silent_for = record
            .heard
            .map_or(Duration::ZERO, |heard| at.duration_since(heard));
        record.heard = Some(at);
        if record.responsive {
            return None;
        }
        record.responsive = true;
        record.changed = Instant::now();
        let timeout = self.policy.silence_timeout();
        self.agenda.add(at + timeout, peer, Due::Silence);
        tracing::info!(%peer, ?silent_for, "an unresponsive peer has recovered");
        Some(PeerEvent::Recovered { peer, silent_for })
    }

    async fn do_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some((at, peer, due)) = self.agenda.take_due(now) {
            match due {
                Due::Dial => self.dial_if_due(peer, now).await,
                Due::Silence => {
                    if now.duration_since(at) > self.policy.ping_interval {
                        // It was us who stood still, and nobody could have been heard meanwhile.
                        self.excuse_everybody(now);
                    }
                    self.listen(peer).await;
                    if let Some(event) = self.judge_silence(peer, now) {
                        let _ = self.events.send(event).await;
                    }
                }
                Due::Recovery => {
                    self.listen(peer).await;
                    self.look_for_recovery(peer, now);
                }
                Due::GiveUp => {
                    self.listen(peer).await;
                    self.give_up_if_silent(peer, now).await;
                }
                Due::Drain(connection) => {
                    let local = self.network.local_peer_id();
                    let replaced = self.records.get(&peer).is_some_and(|record| {
                        superseded(&local, &peer, &record.connections).contains(&connection)
                    });
                    if replaced {
                        tracing::debug!(%peer, "closing a connection that another has replaced");
                        self.network.close(connection).await;
                    }
                }
                Due::EndVisit(connection) => self.end_visit(peer, connection).await,
            }
        }
    }

    fn look_for_recovery(&mut self, peer: PeerId, now: Instant) {
        let record = self.records.get(&peer);
        if record.is_some_and(|r| r.state == PeerState::Connected && !r.responsive) {
            let next = now + self.policy.ping_interval.min(RECOVERY_EVERY);
            self.agenda.add(next, peer, Due::Recovery);
        }
    }

    fn excuse_everybody(&mut self, now: Instant) {
        tracing::warn!("this program stood still for a while: silence of peers is counted anew");
        for record in self.records.values_mut() {
            if record.state == PeerState::Connected {
                record.heard = Some(now);
            }
        }
    }

    fn judge_silence(&mut self, peer: PeerId, now: Instant) -> Option<PeerEvent> {
        let timeout = self.policy.silence_timeout();
        let record = self.records.get_mut(&peer)?;
        let heard = record.heard?;
        if record.state != PeerState::Connected || !record.responsive {
            return None;
        }
        let silent_for = now.duration_since(heard);
        if silent_for < timeout {
            self.agenda.add(heard + timeout, peer, Due::Silence);
            return None;
        }
        record.responsive = false;
        record.changed = now;
        tracing::warn!(%peer, ?silent_for, "a peer has become unresponsive");
        self.look_for_recovery(peer, now);
        if self.target(&peer).is_some() {
            self.agenda.add(now + timeout, peer, Due::GiveUp);
        }
        Some(PeerEvent::Unresponsive { peer, silent_for })
    }

    /// A target that stays silent may be reachable by a new connection, for all that we know.
    async fn give_up_if_silent(&mut self, peer: PeerId, now: Instant) {
        let timeout = self.policy.silence_timeout();
        let Some(record) = self.records.get(&peer) else {
            return;
        };
        let silent_for = record
            .heard
            .map_or(Duration::ZERO, |at| now.duration_since(at));
        if record.state == PeerState::Connected && !record.responsive && silent_for >= 2 * timeout {
            tracing::warn!(%peer, ?silent_for, "giving up the connection to an unresponsive peer");
            self.network.disconnect(peer).await;
        }
    }

    async fn end_visit(&mut self, peer: PeerId, connection: ConnectionId) {
        let wanted = self.target(&peer).is_some();
        let stands = self
            .records
            .get(&peer)
            .is_some_and(|record| record.connections.iter().any(|c| c.id == connection));
        if stands && !wanted {
            self.network.close(connection).await;
        }
    }
}

#[cfg(test)]
mod tests;
