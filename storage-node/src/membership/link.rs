//! The node's side of its connections to coordinators: `hello` on each new one, then heartbeats.
//!
//! Whom to dial and when is the peer policy's business; here is what to say once a connection
//! stands. One task for each connected coordinator, ended when the connection is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use blobstore::Store;
use libp2p_identity::PeerId;
use network::{NetworkHandle, PeerEvent, Peers};
use proto::{DeferredPurges, Heartbeat, HeartbeatReport, Hello, HelloReport, LedgerDay, NodeId};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::coordinators::{Coordinators, Greeting};
use super::ledger_days::{LedgerDays, Told};
use super::lifecycle::Lifecycle;
use crate::peers::SOFTWARE;
use crate::volume::Instance;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Link {
    pub node_id: NodeId,
    pub store: Store,
    pub lifecycle: Lifecycle,
    pub coordinators: Arc<Coordinators>,
    pub network: NetworkHandle,
    /// Heartbeats in a row without an answer before a connection is given up.
    pub failures: u32,
    /// The newest serial of the network document that a coordinator has told.
    pub newest_serial: watch::Sender<u64>,
    pub ledger_days: LedgerDays,
    pub instance: Instance,
}

/// One for each coordinator that is connected.
struct Sessions {
    link: Link,
    /// Whoever is, coordinators or not.
    connected: HashSet<PeerId>,
    running: HashMap<PeerId, CancellationToken>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Sessions {
    fn handle(&mut self, event: PeerEvent) {
        let coordinators = &self.link.coordinators;
        match event {
            PeerEvent::Connected { peer, addr } => {
                if coordinators.contains(&peer) {
                    tracing::info!(%peer, %addr, "connected to a coordinator");
                }
                self.connected.insert(peer);
                self.begin(peer);
            }
            PeerEvent::Disconnected { peer, .. } => {
                coordinators.note(&peer, |status| {
                    status.connected = false;
                    status.accepted = false;
                    status.greeting = Greeting::Unanswered;
                });
                self.connected.remove(&peer);
                if let Some(session) = self.running.remove(&peer) {
                    session.cancel();
                }
            }
            _ => {}
        }
    }

    fn begin_with_those_connected(&mut self) {
        let without = |peer: &&PeerId| !self.running.contains_key(peer);
        let without: Vec<PeerId> = self.connected.iter().filter(without).copied().collect();
        for peer in without {
            self.begin(peer);
        }
    }

    /// In place of an earlier one; only with a coordinator.
    fn begin(&mut self, peer: PeerId) {
        if !self.link.coordinators.contains(&peer) {
            return;
        }
        self.link
            .coordinators
            .note(&peer, |status| status.connected = true);
        let session = self.cancel.child_token();
        let (link, ended) = (self.link.clone(), session.clone());
        self.tasks.spawn(async move {
            ended.run_until_cancelled(link.session(peer)).await;
        });
        if let Some(earlier) = self.running.insert(peer, session) {
            earlier.cancel();
        }
    }
}

impl Link {
    /// Until it is cancelled or the network has stopped.
    pub(crate) async fn run(self, mut peers: Peers, cancel: CancellationToken) {
        let mut targets = peers.targets().subscribe();
        let mut sessions = Sessions {
            link: self,
            connected: HashSet::new(),
            running: HashMap::new(),
            tasks: TaskTracker::new(),
            cancel: cancel.clone(),
        };
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                event = peers.next_event() => match event {
                    Some(event) => sessions.handle(event),
                    None => return,
                },
                // The operator may have named a coordinator before the network document did.
                _ = targets.changed() => sessions.begin_with_those_connected(),
            }
        }
    }

    /// A last heartbeat to everyone who counts on the node: send nothing new.
    pub(crate) async fn say_farewell(&self) {
        let Ok(report) = self.report().await else {
            return;
        };
        let farewells = self.coordinators.accepted_by().into_iter().map(|peer| {
            let call = self.network.call::<Heartbeat>(peer, report);
            timeout(FAREWELL_WITHIN, call)
        });
        futures::future::join_all(farewells).await;
    }

    async fn session(&self, peer: PeerId) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.say_hello(peer).await {
            tracing::warn!(%peer, reason = %error, retry_in = ?pause, "the coordinator does not take the node");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::info!(%peer, "the coordinator has taken the node");
        self.send_heartbeats(peer).await;
        tracing::warn!(%peer, "the coordinator does not answer: giving the connection up");
        self.network.disconnect(peer).await;
    }

    async fn say_hello(&self, peer: PeerId) -> Result<()> {
        let report = self.introduction()?;
        let answer = self.network.call::<Hello>(peer, report).await?;
        self.note_serial(answer.network_serial);
        if answer.rejection.is_none() {
            let instance = self.instance.clone();
            // With the number kept, the next start says the same one, and is taken as well.
            if let Err(error) = spawn_blocking(move || instance.note_taken()).await? {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "it cannot be noted that the node was taken"
                );
            }
        }
        self.coordinators.note(&peer, |status| {
            status.accepted = answer.rejection.is_none();
            status.rejection.clone_from(&answer.rejection);
            status.greeting = match answer.hang_up {
                true => Greeting::Elsewhere,
                false => Greeting::Answered,
            };
        });
        match answer.rejection {
            Some(reason) if answer.hang_up => {
                tracing::error!(%peer, reason, "another copy of this node is the one that counts: hanging up");
                // The newer connection would take the place of the other copy's. Dialled again it is by and by.
                self.network.disconnect(peer).await;
                Err(anyhow::anyhow!(reason))
            }
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }

    fn introduction(&self) -> Result<HelloReport> {
        let space = self.store.space()?;
        Ok(HelloReport {
            node_id: self.node_id,
            software: SOFTWARE.to_owned(),
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            free_bytes: space.free_bytes,
            blob_count: self.store.counts().live.blobs,
            draining: self.lifecycle.is_draining(),
            deferred: self.deferred(),
            instance: Some(self.instance.said()),
        })
    }

    fn deferred(&self) -> DeferredPurges {
        let deferred = self.store.deferred();
        DeferredPurges {
            blobs: deferred.held.blobs,
            until_ms: deferred.first_until_ms.unwrap_or(0),
        }
    }

    async fn report(&self) -> Result<HeartbeatReport> {
        let space = self.store.space()?;
        Ok(HeartbeatReport {
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            free_bytes: space.free_bytes,
            blob_count: self.store.counts().live.blobs,
            activity: self.lifecycle.activity().await,
            deferred: self.deferred(),
        })
    }

    /// Returns when the coordinator has not answered a number of times in a row.
    async fn send_heartbeats(&self, peer: PeerId) {
        let mut ticks = interval(HEARTBEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        while failures < self.failures {
            ticks.tick().await;
            match self.beat(peer).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%peer, %error, failures, "a heartbeat was not answered");
                }
            }
        }
    }

    async fn beat(&self, peer: PeerId) -> Result<()> {
        let report = self.report().await?;
        let answer = self.network.call::<Heartbeat>(peer, report).await?;
        self.note_serial(answer.network_serial);
        self.coordinators.note_heartbeat(&peer, &answer);
        if let Some(day) = answer.last_ledger_day {
            self.keep_ledger_day(peer, day).await?;
        }
        Ok(())
    }

    async fn keep_ledger_day(&self, peer: PeerId, told: LedgerDay) -> Result<()> {
        let ledger_days = self.ledger_days.clone();
        let day = told.day.clone();
        match spawn_blocking(move || ledger_days.take(&told)).await?? {
            Told::Known => {}
            Told::New => tracing::debug!(day, "kept the ledger's head of a day"),
            Told::Forged => {
                tracing::error!(%peer, day, "a coordinator told a ledger day that the network's key did not sign");
            }
            Told::Contradiction(what) => {
                tracing::error!(%peer, %what, "the network's ledger was rewritten; ledger-contradictions.json has the proof");
            }
        }
        Ok(())
    }

    fn note_serial(&self, serial: u64) {
        self.newest_serial.send_if_modified(|newest| {
            let newer = serial > *newest;
            *newest = serial.max(*newest);
            newer
        });
    }
}
