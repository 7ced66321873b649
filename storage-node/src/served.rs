//! What the node has done for its coordinators since it started: counted where it is done, shown in the metrics and in
//! `storage-node status`, so that an operator sees that blobs come and go and that the node is audited.
//!
//! Nothing is kept across restarts. Rejected: a file of sums, which would have to be flushed with each blob to be true
//! after a crash; a Prometheus keeps the past better.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kit::Clock;
use kit::metrics::{Doubling, Metrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use proto::{ItemOutcome, ProofAnswer, ProtocolSpec, protocols};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    request: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProofLabels {
    outcome: &'static str,
}

/// What a coordinator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Store,
    Read,
    Delete,
    Prove,
    Inventory,
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// Not here, damaged, no room, or leaving.
    Refused,
    /// The node had no time for it.
    Busy,
    /// It was no request.
    Malformed,
}

/// Which way a blob went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// The counters, shared by all who count.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<TimeLabels, Histogram, Doubling>,
    blobs: Family<DirectionLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    proofs: Family<ProofLabels, Counter>,
    challenged_at_ms: Arc<AtomicU64>,
    clock: Clock,
}

/// The same for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedStatus {
    pub stored_blobs: u64,
    pub stored_bytes: u64,
    pub read_blobs: u64,
    pub read_bytes: u64,
    pub challenges: u64,
    /// Blobs for which a proof was given.
    pub proven: u64,
    /// Blobs that were not there, or not what they should be.
    pub not_proven: u64,
    /// Blobs for which the node had no time.
    pub put_off: u64,
    pub last_challenge_at: Option<Timestamp>,
}

const PROVEN: &str = "proven";
const MISSING: &str = "missing";
const CORRUPT: &str = "corrupt";
const BUSY: &str = "busy";

impl Served {
    pub(crate) fn new(metrics: &mut Metrics, clock: Clock) -> Self {
        let served = Self {
            requests: metrics.family(
                "requests",
                "Requests of coordinators by kind (store, read, delete, prove, inventory) and outcome (done, refused, busy, malformed)",
            ),
            seconds: metrics.seconds_of(
                "request_seconds",
                "How long requests of coordinators take, by kind",
                Doubling {
                    shortest: 0.001,
                    buckets: 14,
                },
            ),
            blobs: metrics.family("blobs_moved", "Blobs that came (in) and were given (out)"),
            bytes: metrics.family(
                "blob_bytes_moved",
                "Bytes of the blobs that came (in) and were given (out)",
            ),
            proofs: metrics.family(
                "proofs",
                "Blobs that the node was challenged for, by outcome: proven, missing, corrupt, busy",
            ),
            challenged_at_ms: Arc::default(),
            clock,
        };
        // What never happened is 0 and not missing.
        for direction in [Direction::In, Direction::Out] {
            let _ = served.blobs.get_or_create(&direction.labels());
            let _ = served.bytes.get_or_create(&direction.labels());
        }
        for outcome in [PROVEN, MISSING, CORRUPT, BUSY] {
            let _ = served.proofs.get_or_create(&ProofLabels { outcome });
        }
        served
    }

    /// A request was answered, or dropped.
    pub(crate) fn request(&self, asked: Asked, ended: Ended, took: Duration) {
        let request = asked.name();
        let outcome = ended.name();
        let labels = RequestLabels { request, outcome };
        self.requests.get_or_create(&labels).inc();
        let seconds = self.seconds.get_or_create(&TimeLabels { request });
        seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn blob(&self, direction: Direction, bytes: usize) {
        let labels = direction.labels();
        self.blobs.get_or_create(&labels).inc();
        self.bytes.get_or_create(&labels).inc_by(bytes as u64);
    }

    pub(crate) fn proof(&self, answer: &ProofAnswer) {
        for item in &answer.items {
            let outcome = match item.outcome {
                ItemOutcome::Proven(_) => PROVEN,
                ItemOutcome::Missing => MISSING,
                ItemOutcome::Corrupt => CORRUPT,
                ItemOutcome::Busy => BUSY,
            };
            self.proofs.get_or_create(&ProofLabels { outcome }).inc();
        }
        let now = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        self.challenged_at_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// When the last challenge came, in Unix ms; 0 before the first.
    pub(crate) fn challenged_at_ms(&self) -> u64 {
        self.challenged_at_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn status(&self) -> ServedStatus {
        let blobs = |direction: Direction| self.blobs.get_or_create(&direction.labels()).get();
        let bytes = |direction: Direction| self.bytes.get_or_create(&direction.labels()).get();
        let proofs = |outcome| self.proofs.get_or_create(&ProofLabels { outcome }).get();
        let answered = [Ended::Done, Ended::Refused, Ended::Busy].map(|ended| {
            let labels = RequestLabels {
                request: Asked::Prove.name(),
                outcome: ended.name(),
            };
            self.requests.get_or_create(&labels).get()
        });
        let at = i64::try_from(self.challenged_at_ms())
            .ok()
            .filter(|ms| *ms > 0);
        ServedStatus {
            stored_blobs: blobs(Direction::In),
            stored_bytes: bytes(Direction::In),
            read_blobs: blobs(Direction::Out),
            read_bytes: bytes(Direction::Out),
            challenges: answered.iter().sum(),
            proven: proofs(PROVEN),
            not_proven: proofs(MISSING) + proofs(CORRUPT),
            put_off: proofs(BUSY),
            last_challenge_at: at.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        }
    }
}

impl Asked {
    /// `None` for a protocol that the node does not serve.
    pub(crate) fn of(protocol: ProtocolSpec) -> Option<Self> {
        Some(match protocol {
            protocols::STORE_CHUNK => Self::Store,
            protocols::RETRIEVE_CHUNK => Self::Read,
            protocols::DELETE_CHUNK => Self::Delete,
            protocols::PROOF_CHALLENGE => Self::Prove,
            protocols::INVENTORY => Self::Inventory,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Prove => "prove",
            Self::Inventory => "inventory",
        }
    }
}

impl Ended {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Malformed => "malformed",
        }
    }
}

impl Direction {
    const fn labels(self) -> DirectionLabels {
        DirectionLabels {
            direction: match self {
                Self::In => "in",
                Self::Out => "out",
            },
        }
    }
}
