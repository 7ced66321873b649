//! One connected node: what it last said, how the network sees it, what is on its way to it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::{DeferredPurges, InstanceId, MicroCredits, NodeActivity, NodeId, PeerId, RefusalCode};
use uuid::Uuid;

use model::node_state::{NetworkPrefix, NodeState};
use rules::placement::{Candidate, FailureDomains};
use rules::reputation::Hold;

/// Three heartbeats: a node that said nothing for this long is not given work.
const HEARTBEAT_GRACE: Duration = Duration::from_secs(15);

/// Whoever is slow now and then answers one of so many reads in time.
const OVERTAKEN_IN_A_ROW: u32 = 3;

/// How long a node that left an exchange unanswered comes after all others.
const LAGGING: Duration = Duration::from_secs(10);

/// A connected node.
pub struct Member {
    pub node_id: NodeId,
    pub peer_id: PeerId,
    /// Which copy of its data directory it runs from; `None` of a node that does not say it.
    pub instance: Option<InstanceId>,
    operator: Option<Uuid>,
    region: Option<String>,
    live: Mutex<Live>,
    standing: Mutex<Standing>,
    in_flight_bytes: AtomicU64,
    lagging_until: Mutex<Option<Instant>>,
    reads_in_flight: AtomicU64,
    /// Smoothed time of a read, in microseconds.
    read_micros: AtomicU64,
    /// Reads in a row in which another node, asked later, has answered first.
    overtaken_reads: AtomicU32,
    /// Of its connection, in microseconds; `u64::MAX` before the first.
    lowest_ping_micros: AtomicU64,
    /// One challenge at a time: whoever holds it may send.
    challenge_turn: tokio::sync::Mutex<()>,
    /// One report of losses at a time: a node that floods us with them has no others worked on.
    report_turn: tokio::sync::Mutex<()>,
}

/// What the node last said, and when.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    pub activity: NodeActivity,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub blob_count: u64,
    pub deferred: DeferredPurges,
    pub prefix: Option<NetworkPrefix>,
    pub heard: Instant,
}

/// How the network sees the node, as the liveness worker last read it.
#[derive(Debug, Clone)]
pub struct Standing {
    pub state: NodeState,
    pub state_reason: String,
    /// What keeps it from new data for now.
    pub hold: Option<Hold>,
    pub earned: MicroCredits,
}

/// A registered node that connects.
#[derive(Debug)]
pub struct NewMember {
    pub node_id: NodeId,
    pub peer_id: PeerId,
    pub instance: Option<InstanceId>,
    pub operator: Option<Uuid>,
    pub region: Option<String>,
    pub live: Live,
    pub standing: Standing,
}

impl Member {
    pub(super) fn new(new: NewMember) -> Self {
        Self {
            node_id: new.node_id,
            peer_id: new.peer_id,
            instance: new.instance,
            operator: new.operator,
            region: new.region,
            live: Mutex::new(new.live),
            standing: Mutex::new(new.standing),
            in_flight_bytes: AtomicU64::new(0),
            lagging_until: Mutex::new(None),
            reads_in_flight: AtomicU64::new(0),
            read_micros: AtomicU64::new(1000),
            overtaken_reads: AtomicU32::new(0),
            lowest_ping_micros: AtomicU64::new(u64::MAX),
            challenge_turn: tokio::sync::Mutex::new(()),
            report_turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes over what the node reports.
    pub(super) fn heard(&self, update: impl FnOnce(&mut Live)) {
        let mut live = self.lock();
        update(&mut live);
        live.heard = Instant::now();
    }

    pub fn live(&self) -> Live {
        *self.lock()
    }

    pub fn standing(&self) -> Standing {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.clone()
    }

    pub fn set_standing(&self, new: Standing) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *standing = new;
    }

    /// Gives it nothing new from now on, until its standing is read the next time.
    pub fn hold(&self, hold: Hold) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.hold = Some(hold);
    }

    pub fn is_vetted(&self) -> bool {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.state.is_vetted()
    }

    pub fn is_online(&self) -> bool {
        self.lock().heard.elapsed() < HEARTBEAT_GRACE
    }

    /// What a read from this node is expected to take: smaller is better.
    pub fn read_cost(&self) -> u64 {
        let waiting = self.reads_in_flight.load(Ordering::Relaxed);
        let micros = self.read_micros.load(Ordering::Relaxed);
        (waiting + 1).saturating_mul(micros)
    }

    pub fn note_ping(&self, rtt: Duration) {
        let micros = rtt.as_micros().min(u128::from(u64::MAX)) as u64;
        self.lowest_ping_micros.fetch_min(micros, Ordering::Relaxed);
    }

    pub fn lowest_ping(&self) -> Option<Duration> {
        let micros = self.lowest_ping_micros.load(Ordering::Relaxed);
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }

    /// Waits until no other challenge of this coordinator is under way to the node. Held while one is.
    pub async fn challenge_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.challenge_turn.lock().await
    }

    /// `None` while another report of the node's is worked on.
    pub fn report_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.report_turn.try_lock().ok()
    }

    /// Bytes of blobs that are on their way to the node or being read from it; of a read the usual
    /// size is taken, since only its answer tells.
    pub fn data_queued_bytes(&self) -> u64 {
        const USUAL_BLOB: u64 = 256 * 1024;
        let reads = self.reads_in_flight.load(Ordering::Relaxed);
        let stores = self.in_flight_bytes.load(Ordering::Relaxed);
        stores.saturating_add(reads.saturating_mul(USUAL_BLOB))
    }

    pub fn domains(&self) -> FailureDomains {
        FailureDomains {
            operator: self.operator,
            prefix: self.lock().prefix,
            region: self.region.clone(),
        }
    }

    pub(super) fn candidate(&self) -> Option<Candidate> {
        let (live, standing) = (self.live(), self.standing());
        let state = standing.state;
        let willing = live.activity == NodeActivity::Running
            && state.takes_new_blobs()
            && standing.hold.is_none();
        willing.then(|| Candidate {
            node_id: self.node_id,
            vetted: state.is_vetted(),
            free_bytes: live.free_bytes,
            capacity_bytes: live.capacity_bytes,
            in_flight_bytes: self.in_flight_bytes.load(Ordering::Relaxed),
            lagging: self.is_lagging(),
            domains: self.domains(),
        })
    }

    pub fn is_lagging(&self) -> bool {
        let until = self
            .lagging_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn note_lag(&self) {
        let mut until = self
            .lagging_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + LAGGING);
    }

    /// Between two heartbeats we count ourselves.
    pub(super) fn note_stored(&self, bytes: u64) {
        let mut live = self.lock();
        live.free_bytes = live.free_bytes.saturating_sub(bytes);
        live.used_bytes = live.used_bytes.saturating_add(bytes);
    }

    /// A node knows better than its last heartbeat.
    pub(super) fn note_refusal(&self, code: RefusalCode) {
        let mut live = self.lock();
        match code {
            RefusalCode::Full => live.free_bytes = 0,
            RefusalCode::Draining => live.activity = NodeActivity::Draining,
            RefusalCode::Stopping => live.activity = NodeActivity::Stopping,
            RefusalCode::IoError => live.activity = NodeActivity::ReadOnly,
            RefusalCode::HashMismatch | RefusalCode::Malformed | RefusalCode::Busy => {}
        }
    }

    pub(super) fn note_read(&self, elapsed: Duration) {
        let sample = elapsed.as_micros().clamp(1, 60_000_000) as u64;
        let before = self.read_micros.load(Ordering::Relaxed);
        // A lost update between two readers costs one sample of a smoothed figure.
        self.read_micros
            .store((before * 7 + sample) / 8, Ordering::Relaxed);
    }

    /// A node, asked later, has answered a read first, and this one's answer is waited for no longer.
    /// `true` when that has happened so often in a row that it may be no chance.
    pub fn note_overtaken(&self) -> bool {
        let before = self.overtaken_reads.fetch_add(1, Ordering::Relaxed);
        (before + 1).is_multiple_of(OVERTAKEN_IN_A_ROW)
    }

    /// It answers reads, whatever it says.
    pub(super) fn note_read_answered(&self) {
        self.overtaken_reads.store(0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place on a node for one blob; it counts as on its way until it is dropped.
pub struct Slot {
    pub member: Arc<Member>,
    bytes: u64,
}

impl Slot {
    pub(super) fn new(member: Arc<Member>, bytes: u64) -> Self {
        member.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { member, bytes }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let in_flight = &self.member.in_flight_bytes;
        in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// An exchange that is given up, or fails without an answer, marks its node as lagging for a while.
pub(super) struct Unanswered<'a> {
    member: &'a Member,
    answered: bool,
}

impl<'a> Unanswered<'a> {
    pub(super) fn new(member: &'a Member) -> Self {
        Self {
            member,
            answered: false,
        }
    }

    pub(super) fn answered(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.member.note_lag();
        }
    }
}

/// Counts a read that is under way.
pub(super) struct ReadGuard<'a>(&'a Member);

impl<'a> ReadGuard<'a> {
    pub(super) fn new(member: &'a Member) -> Self {
        member.reads_in_flight.fetch_add(1, Ordering::Relaxed);
        Self(member)
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        self.0.reads_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
