//! The fleet as this coordinator sees it right now: which nodes are connected, how full they are,
//! what is on its way to them. In memory only; the database has what must outlive the process.

pub mod admission;
pub mod guard;
pub mod jobs;
pub mod latency;
pub mod lookup;
mod member;
pub mod metrics;
pub mod node_status;
pub mod node_tokens;
pub mod peers;
pub mod registration;
pub mod removal;
pub mod tables;
pub mod uptime_sampler;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::database::Pool;
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use kit::{Clock, Entropy, Wake};
use network::{CallError, Handshakes, NetworkHandle};
use proto::{
    BlobId, LedgerDay, Locator, NetworkContext, NetworkId, NodeId, PeerId, Retrieve,
    RetrieveAnswer, RetrieveRequest, SignedOrder, SignedReceipt, Store, StoreAnswer, StoreRequest,
};
use rand::Rng;
use tokio::sync::Notify;

use self::admission::RegisteredPeers;
pub use self::member::{Live, Member, NewMember, Slot, Standing};
use self::member::{ReadGuard, Unanswered};
use self::metrics::FleetMetrics;
use self::node_status::NodeStates;
use self::uptime_sampler::UptimeSampler;
use crate::config::NodesConfig;
use crate::facts::Facts;
use crate::fleet::latency::LatencyWindow;
use crate::keys::network_document::CurrentDocument;
use crate::security;
use model::scheme::Scheme;
use rules::placement;
use rules::placement::{Candidate, PlacementError, Rules};
use sealing::SealedBlob;

/// What the fleet's use-cases work with.
pub struct Nodes {
    pub db: Pool,
    pub fleet: Arc<Fleet>,
    pub network_id: NetworkId,
    pub document: CurrentDocument,
    pub admission: Arc<RegisteredPeers>,
    pub config: NodesConfig,
    /// Hash of the configured token that admits any number of nodes.
    pub bootstrap_token: Option<[u8; 32]>,
    /// The ledger's head of the last day, for nodes to keep.
    pub ledger_day: ArcSwapOption<LedgerDay>,
    pub uptime_sampler: Arc<UptimeSampler>,
    /// How long a node may be offline before its replicas count no more.
    pub grace: Duration,
    pub mass_failure_hold: Duration,
    pub started_at: Timestamp,
    pub facts: Facts,
    pub states: NodeStates,
    /// A node is here that may have something to forget.
    pub purge_wake: Wake,
    /// The connection to a node was lost.
    pub connections_wake: Wake,
    /// Nodes have to be gone through.
    pub scan_wake: Wake,
    pub metrics: FleetMetrics,
    pub clock: Clock,
    pub entropy: Entropy,
}

pub struct Fleet {
    network: NetworkHandle,
    network_id: NetworkId,
    members: RwLock<Roster>,
    peers: RwLock<HashMap<PeerId, NodeId>>,
    /// Whose connection was lost, and when, until that is written down.
    lost: Mutex<HashMap<NodeId, Instant>>,
    changed: Notify,
    store_latency: LatencyWindow,
    read_latency: LatencyWindow,
}

/// Why a node did not take a blob.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreFailure {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("refused: {0}")]
    Refused(#[from] proto::Refusal),
    #[error("its receipt is not signed by it for this blob")]
    ForgedReceipt,
}

impl StoreFailure {
    /// The blob may be on the node nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Call(error) => error.outcome_unknown(),
            Self::Refused(_) => false,
            Self::ForgedReceipt => true,
        }
    }
}

/// Why a node did not give a blob back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadFailure {
    #[error("the node is not connected")]
    Offline,
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the node does not have it")]
    Missing,
    /// It shows an order, which is still to be checked.
    #[error("the node does not have it: it shows an order to delete it")]
    Ordered(Box<SignedOrder>),
    #[error("the node's copy is damaged")]
    Corrupt,
    #[error("the node cannot read it now: {0}")]
    Later(String),
}

impl Fleet {
    pub fn new(network: NetworkHandle, network_id: NetworkId) -> Self {
        Self {
            network,
            network_id,
            members: RwLock::default(),
            peers: RwLock::default(),
            lost: Mutex::default(),
            changed: Notify::new(),
            store_latency: LatencyWindow::new(Duration::from_millis(500), Duration::from_secs(3)),
            read_latency: LatencyWindow::new(Duration::from_millis(200), Duration::from_secs(2)),
        }
    }

    /// How connections with nodes were secured.
    pub fn handshakes(&self) -> &Handshakes {
        self.network.handshakes()
    }

    pub fn network(&self) -> &NetworkHandle {
        &self.network
    }

    /// Adds a node that has been let in, or renews what is known of it.
    pub fn admit(&self, new: NewMember) -> Arc<Member> {
        let member = Arc::new(Member::new(new));
        write(&self.peers).insert(member.peer_id, member.node_id);
        write(&self.members).insert(Arc::clone(&member));
        self.lock_lost().remove(&member.node_id);
        self.changed.notify_waiters();
        // What it said may have been read after its connection was gone.
        self.lose_peer(&member.peer_id);
        member
    }

    pub fn remove_peer(&self, peer: &PeerId) {
        if let Some(node_id) = write(&self.peers).remove(peer) {
            write(&self.members).remove(node_id);
            self.changed.notify_waiters();
        }
    }

    /// The connection to a peer is gone, and the node with it, which is returned; unless it has come back over
    /// another one before this was told.
    pub fn lose_peer(&self, peer: &PeerId) -> Option<NodeId> {
        if self.network.is_connected(peer) {
            return None;
        }
        let node = read(&self.peers).get(peer).copied()?;
        self.remove_peer(peer);
        self.lock_lost().insert(node, Instant::now());
        Some(node)
    }

    /// Nodes that were lost and have not come back, until [`Self::lost_is_known`].
    pub fn lost(&self) -> HashMap<NodeId, Instant> {
        self.lock_lost().clone()
    }

    /// What [`Self::lost`] told has been written down; what was lost again since has not.
    pub fn lost_is_known(&self, known: &HashMap<NodeId, Instant>) {
        let mut lost = self.lock_lost();
        lost.retain(|node, at| known.get(node) != Some(at));
    }

    fn lock_lost(&self) -> MutexGuard<'_, HashMap<NodeId, Instant>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn member(&self, node: NodeId) -> Option<Arc<Member>> {
        read(&self.members).get(node)
    }

    /// How many connections there are with a peer.
    pub fn connections(&self, peer: &PeerId) -> u32 {
        self.network.connections(peer)
    }

    /// A node that is not to be here: its connections are closed.
    pub async fn expel(&self, peer: PeerId) {
        self.remove_peer(&peer);
        self.network.disconnect(peer).await;
    }

    pub fn member_of_peer(&self, peer: &PeerId) -> Option<Arc<Member>> {
        let node = *read(&self.peers).get(peer)?;
        self.member(node)
    }

    /// Connected, and heard of lately.
    pub fn is_online(&self, node: NodeId) -> bool {
        self.member(node).is_some_and(|member| member.is_online())
    }

    pub fn is_anybody_online(&self) -> bool {
        let members = read(&self.members);
        members.list.iter().any(|member| member.is_online())
    }

    pub fn online(&self) -> Vec<Arc<Member>> {
        let members = read(&self.members);
        let online = members.list.iter().filter(|member| member.is_online());
        online.cloned().collect()
    }

    /// Takes over what a node reports; wakes uploads that wait for room.
    pub fn heard(&self, member: &Member, update: impl FnOnce(&mut Live)) {
        member.heard(update);
        self.changed.notify_waiters();
    }

    /// Nodes that are given new blobs.
    pub fn candidates(&self) -> Vec<Candidate> {
        let online = self.online();
        online
            .iter()
            .filter_map(|member| member.candidate())
            .collect()
    }

    /// Picks nodes and counts the blob against each at once, so that the next placement sees it.
    pub fn place(
        &self,
        request: &placement::Request<'_>,
        rng: &mut impl Rng,
    ) -> Result<Vec<Slot>, PlacementError> {
        let chosen = {
            let members = read(&self.members);
            let candidate = |at: usize| {
                let member = &members.list[at];
                member.is_online().then(|| member.candidate()).flatten()
            };
            placement::place_among(members.list.len(), candidate, request, rng)?
        };
        let slots = chosen.into_iter().filter_map(|node| {
            let member = self.member(node)?;
            Some(Slot::new(member, request.blob_bytes))
        });
        let slots: Vec<_> = slots.collect();
        if slots.len() < request.count {
            return Err(PlacementError::TooFewNodes {
                needed: request.count,
                eligible: slots.len(),
            });
        }
        Ok(slots)
    }

    /// Like [`Self::place`], and waits up to `timeout` for nodes that may come back.
    pub async fn place_within(
        &self,
        request: &placement::Request<'_>,
        rng: &mut impl Rng,
        timeout: Duration,
    ) -> Result<Vec<Slot>, PlacementError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.changed.notified();
            match self.place(request, rng) {
                Err(error @ PlacementError::TooFewNodes { .. }) => {
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether `bytes` of file could be placed at all: enough nodes, and enough room in sum.
    pub async fn check_room(
        &self,
        bytes: u64,
        scheme: Scheme,
        timeout: Duration,
        rng: &mut impl Rng,
    ) -> Result<(), PlacementError> {
        let request = placement::Request {
            count: scheme.pieces() as usize,
            scheme,
            blob_bytes: 1,
            distinct_domains: false,
            rules: Rules::Hard,
            vetted_beside: 0,
            newcomers_beside: 0,
            excluded: &HashSet::new(),
            occupied: &[],
        };
        self.place_within(&request, rng, timeout).await?;
        let candidates = self.candidates();
        // No node holds two replicas of a chunk, so what one has beyond a replica's share is of no use.
        let share = scheme.piece_len(bytes);
        let usable: u64 = candidates
            .iter()
            .map(|node| {
                node.free_bytes
                    .saturating_sub(node.in_flight_bytes)
                    .min(share)
            })
            .fold(0, u64::saturating_add);
        if u128::from(usable) < scheme.stored_bytes(bytes) {
            return Err(PlacementError::TooLittleSpace {
                needed: scheme.pieces() as usize,
                eligible: candidates
                    .iter()
                    .filter(|node| node.free_bytes >= share)
                    .count(),
            });
        }
        Ok(())
    }

    /// How long to wait for a store before another node is asked as well.
    pub fn store_hedge_delay(&self) -> Duration {
        self.store_latency.hedge_delay()
    }

    pub fn read_hedge_delay(&self) -> Duration {
        self.read_latency.hedge_delay()
    }

    /// Sends a blob to its node and checks the receipt.
    pub async fn store(
        &self,
        slot: &Slot,
        blob: SealedBlob,
        locator: Locator,
    ) -> Result<SignedReceipt, StoreFailure> {
        let length = blob.data.len() as u64;
        let began = Instant::now();
        let receipt = self.send(&slot.member, blob, locator).await?;
        self.store_latency.record(began.elapsed());
        slot.member.note_stored(length);
        Ok(receipt)
    }

    /// Has a node sign for a blob that it holds already, by sending it once more.
    pub async fn confirm(
        &self,
        node: NodeId,
        blob: SealedBlob,
        locator: Locator,
    ) -> Result<SignedReceipt, StoreFailure> {
        let member = self.member(node).ok_or(CallError::NotConnected)?;
        self.send(&member, blob, locator).await
    }

    async fn send(
        &self,
        member: &Member,
        blob: SealedBlob,
        locator: Locator,
    ) -> Result<SignedReceipt, StoreFailure> {
        let (blob_id, length) = (blob.blob_id, blob.data.len() as u64);
        let request = StoreRequest {
            blob_id,
            locator,
            request_id: security::request_id(),
            data: blob.data,
        };
        let unanswered = Unanswered::new(member);
        let answer = self.network.call::<Store>(member.peer_id, request).await;
        unanswered.answered(answer.is_ok());
        match answer? {
            StoreAnswer::Stored(receipt) => {
                let context = NetworkContext {
                    network_id: self.network_id,
                    peer_id: member.peer_id,
                };
                receipt
                    .verify(context, blob_id, length)
                    .map_err(|_| StoreFailure::ForgedReceipt)?;
                Ok(receipt)
            }
            StoreAnswer::Refused(refusal) => {
                member.note_refusal(refusal.code);
                Err(refusal.into())
            }
        }
    }

    /// Asks a node for a blob. The bytes are what the node claims: they still have to be checked.
    pub async fn retrieve(
        &self,
        node: NodeId,
        blob_id: BlobId,
    ) -> Result<bytes::Bytes, ReadFailure> {
        let member = self.member(node).ok_or(ReadFailure::Offline)?;
        let _read = ReadGuard::new(&member);
        let began = Instant::now();
        let request = RetrieveRequest {
            blob_id,
            request_id: security::request_id(),
        };
        let unanswered = Unanswered::new(&member);
        let answer = self.network.call::<Retrieve>(member.peer_id, request).await;
        unanswered.answered(answer.is_ok());
        if answer.is_ok() {
            member.note_read_answered();
        }
        match answer? {
            RetrieveAnswer::Found(data) => {
                let elapsed = began.elapsed();
                self.read_latency.record(elapsed);
                member.note_read(elapsed);
                Ok(data)
            }
            RetrieveAnswer::Missing => Err(ReadFailure::Missing),
            RetrieveAnswer::Ordered(order) => Err(ReadFailure::Ordered(order)),
            RetrieveAnswer::Corrupt => Err(ReadFailure::Corrupt),
            RetrieveAnswer::Busy(detail) | RetrieveAnswer::IoError(detail) => {
                Err(ReadFailure::Later(detail))
            }
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The members, to be found by id and to be drawn from.
#[derive(Default)]
struct Roster {
    list: Vec<Arc<Member>>,
    places: HashMap<NodeId, usize>,
}

impl Roster {
    fn get(&self, node: NodeId) -> Option<Arc<Member>> {
        self.places.get(&node).map(|at| Arc::clone(&self.list[*at]))
    }

    fn insert(&mut self, member: Arc<Member>) {
        match self.places.get(&member.node_id) {
            Some(at) => self.list[*at] = member,
            None => {
                self.places.insert(member.node_id, self.list.len());
                self.list.push(member);
            }
        }
    }

    fn remove(&mut self, node: NodeId) {
        if let Some(at) = self.places.remove(&node) {
            self.list.swap_remove(at);
            if let Some(moved) = self.list.get(at) {
                self.places.insert(moved.node_id, at);
            }
        }
    }
}
