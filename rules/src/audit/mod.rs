//! Which replicas of a node are challenged in a round, and when.
//!
//! A node's blob ids are hashes, so equal ranges of ids hold about equally many blobs. A round is a
//! list of such ranges ("cells"), each one message or a little more, asked in an order and at moments
//! that follow from the round's secret seed. Nothing but seed and a few numbers has to be kept, a
//! message costs one index range read over (node, blob id), and after a crash the same message comes
//! out again.
//!
//! The drawn half: the id space is cut into strata of `stride` cells, and one cell of each is drawn.
//! Each replica is drawn with probability exactly 1/stride, however its neighbours lie, and stands for
//! `stride` others in penalties. The turn half goes on where the last round's ended, so that each
//! replica has its turn within 30 days, but a node can foresee it.
//!
//! Rejected: a row per replica and round (30 million rows that change every four hours), and drawing
//! the next blob after a random id (blobs behind a wide gap would be drawn more often, and a node knows
//! its gaps).

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Blobs that a cell holds on average; most cells then fit into one message.
const CELL_FILL: u64 = 12;

/// Replicas of one cell that are asked at most. Only a node that has grown a hundredfold since the
/// round was planned has more in one.
pub const MAX_BLOBS_PER_CELL: usize = 64;

/// Every replica has its turn within this time.
const TURN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Parts per million of weight: a replica that stands for itself only.
pub const WEIGHT_ONE: u64 = 1_000_000;

/// What decides how much of a node is asked in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// `proofs.per_node_limit`
    pub limit: u64,
    /// `proofs.interval`
    pub interval: Duration,
}

/// A node's round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundPlan {
    /// Known to the coordinators only, until the round is over.
    pub seed: [u8; 32],
    /// Drawn cells.
    pub drawn: u32,
    /// Of so many cells one is drawn; 1 when every replica is asked.
    pub stride: u32,
    /// Cells of the turn half.
    pub turns: u32,
    /// Where the turn half begins and ends, as the first eight bytes of a blob id.
    pub turn_from: u64,
    pub turn_to: u64,
}

/// One message of a round, before its replicas are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// First eight bytes of the blob ids in it.
    pub ids: RangeInclusive<u64>,
    /// By chance: counts for the score.
    pub drawn: bool,
    /// How many replicas one of these stands for.
    pub weight_ppm: u64,
}

/// A part of a node that is counted, from which the rest is inferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// First eight bytes of the blob ids in it.
    pub ids: RangeInclusive<u64>,
    /// The node holds 2^shift times as much.
    pub shift: u32,
}

impl Sample {
    /// Above this many replicas a part is counted.
    const COUNT_EXACTLY: u64 = 50_000;

    /// Of a node of about `replicas` replicas; `chance` says which part.
    pub fn of(replicas: u64, chance: u64) -> Self {
        let mut shift = 0;
        while replicas >> shift > Self::COUNT_EXACTLY {
            shift += 1;
        }
        let width = u64::MAX >> shift;
        let first = chance & !width;
        Self {
            ids: first..=first.saturating_add(width),
            shift,
        }
    }
}

impl RoundPlan {
    /// For a node of `replicas` replicas, whose last turn ended before `turn_from`.
    pub fn new(replicas: u64, sampling: Sampling, turn_from: u64, seed: [u8; 32]) -> Self {
        let limit = sampling.limit.max(2);
        let cells = |replicas: u64| u32::try_from(replicas.div_ceil(CELL_FILL)).unwrap_or(u32::MAX);
        let none = Self {
            seed,
            drawn: 0,
            stride: 1,
            turns: 0,
            turn_from,
            turn_to: turn_from,
        };
        if replicas <= limit {
            return Self {
                drawn: cells(replicas),
                ..none
            };
        }
        let rounds = (TURN.as_millis() / sampling.interval.as_millis().max(1)).max(1);
        let fair_share = u64::try_from(u128::from(replicas).div_ceil(rounds)).unwrap_or(u64::MAX);
        let turn = fair_share.max(limit / 2);
        let drawn = (fair_share / 2).max(limit / 2);
        let stride = replicas.div_ceil(drawn);
        let span = (u128::from(turn) << 64).div_ceil(u128::from(replicas));
        let last = u128::from(turn_from) + span - 1;
        Self {
            drawn: cells(drawn),
            stride: u32::try_from(stride).unwrap_or(u32::MAX),
            turns: cells(turn),
            // The turn ends at the last id, and the next begins at the first.
            turn_to: u64::try_from(last).unwrap_or(u64::MAX),
            ..none
        }
    }

    pub fn messages(&self) -> u32 {
        self.drawn.saturating_add(self.turns)
    }

    /// Where the next round's turn begins.
    pub fn next_turn(&self) -> u64 {
        if self.turns == 0 {
            self.turn_from
        } else {
            self.turn_to.wrapping_add(1)
        }
    }

    /// The message with this number, from 0.
    pub fn message(&self, number: u32) -> Cell {
        self.cell(self.place(number))
    }

    /// Drawn cells first, then those of the turn.
    fn cell(&self, place: u32) -> Cell {
        if place < self.drawn {
            let chosen = below(self.stride, draw(&self.seed, b"cell", place));
            let cell = u64::from(place) * u64::from(self.stride) + u64::from(chosen);
            let cells = u64::from(self.drawn) * u64::from(self.stride);
            return Cell {
                ids: part(0, u64::MAX, cell, cells),
                drawn: true,
                weight_ppm: WEIGHT_ONE * u64::from(self.stride),
            };
        }
        let (turn, turns) = (place - self.drawn, self.turns.max(1));
        Cell {
            ids: part(self.turn_from, self.turn_to, turn.into(), turns.into()),
            drawn: false,
            weight_ppm: WEIGHT_ONE,
        }
    }

    /// Messages are sent in an order that nobody can foresee (Fisher and Yates).
    fn place(&self, number: u32) -> u32 {
        let messages = self.messages();
        let mut order: Vec<u32> = (0..messages).collect();
        for last in (1..messages).rev() {
            let other = below(last + 1, draw(&self.seed, b"order", last));
            order.swap(last as usize, other as usize);
        }
        order.get(number as usize).copied().unwrap_or(0)
    }

    /// When message `number` is due, the one before it having been due at `previous` (or the window
    /// having begun then) and the window ending at `end`: the messages of a round are that many
    /// random moments in order.
    pub fn due_at(&self, number: u32, previous: Timestamp, end: Timestamp) -> Timestamp {
        let left = self.messages().saturating_sub(number).max(1);
        let chance = (draw(&self.seed, b"time", number) >> 11) as f64 / (1u64 << 53) as f64;
        // The least of `left` random moments.
        let share = 1.0 - (1.0 - chance).powf(1.0 / f64::from(left));
        let window = end.duration_since(previous).as_millis_f64().max(0.0);
        let wait = SignedDuration::from_millis((window * share) as i64);
        previous.saturating_add(wait).unwrap_or(end)
    }
}

/// The `number`th of `count` equal parts of `first..=last`.
fn part(first: u64, last: u64, number: u64, count: u64) -> RangeInclusive<u64> {
    let span = u128::from(last - first) + 1;
    let start = |number: u64| {
        u128::from(first)
            + (span / u128::from(count)) * u128::from(number)
            + (span % u128::from(count)) * u128::from(number) / u128::from(count)
    };
    (start(number) as u64)..=((start(number + 1).max(1) - 1) as u64)
}

/// A number that follows from seed, purpose and index, and that nobody can tell without the seed.
fn draw(seed: &[u8; 32], purpose: &[u8], index: u32) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(purpose);
    hasher.update(&index.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// `0..bound`, from 64 random bits: the skew is below bound/2⁶⁴.
fn below(bound: u32, random: u64) -> u32 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u32
}

/// A replica counts as failed when it is drawn, without being asked, for this long after it was
/// demoted.
pub const LOSS_REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Times that a whole blob is asked for after a miss.
const MAX_ATTEMPTS: u32 = 3;

/// How a replica was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// In its round.
    Proof,
    /// Once more, because the node was busy.
    ProofAgain,
    /// In its round, while its whole blob is yet to be asked for, after so many attempts: no miss is a way around
    /// the proofs that follow.
    ProofMeanwhile { attempts: u32 },
    /// With so many attempts before this one.
    WholeBlob { attempts: u32 },
    /// Once more, since the whole blob came in place of a proof.
    ProofAfterBlob,
}

impl Question {
    /// One that the node has to answer for its pay: what does not come in time is charged, however often.
    pub const fn is_due_proof(self) -> bool {
        matches!(
            self,
            Self::Proof | Self::ProofAgain | Self::ProofMeanwhile { .. }
        )
    }
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Good,
    /// Wrong bytes, or the node says that it lacks the blob.
    Bad,
    /// Late, cut, refused, or none.
    Missing,
    Busy,
    /// The node lacks the blob because a coordinator ordered it to delete it.
    Ordered,
}

/// What follows for the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Proven in time.
    Pass,
    /// The whole blob came. It is there; that it can be proven in time is yet to be seen, and only then is a miss
    /// forgiven.
    Held,
    Fail,
    /// The whole blob is asked for later.
    Miss {
        attempts: u32,
    },
    /// The same is asked for later, and nothing is held against anybody.
    AskAgain,
    /// The replica counts no more, and nothing is held against its node.
    Excused,
    /// The blob is there and was not proven: its miss stays, and nothing more is asked.
    Unproven,
}

pub fn consequence(question: Question, answer: Answer) -> Consequence {
    match (question, answer) {
        (Question::WholeBlob { .. }, Answer::Good) => Consequence::Held,
        (_, Answer::Good) => Consequence::Pass,
        (_, Answer::Bad) => Consequence::Fail,
        (_, Answer::Ordered) => Consequence::Excused,
        (Question::Proof, Answer::Busy) => Consequence::AskAgain,
        (Question::Proof | Question::ProofAgain, Answer::Missing | Answer::Busy) => {
            Consequence::Miss { attempts: 0 }
        }
        (Question::ProofMeanwhile { attempts }, Answer::Missing | Answer::Busy) => {
            Consequence::Miss { attempts }
        }
        (Question::WholeBlob { attempts }, Answer::Missing | Answer::Busy) => {
            match attempts.saturating_add(1) {
                MAX_ATTEMPTS.. => Consequence::Fail,
                attempts => Consequence::Miss { attempts },
            }
        }
        (Question::ProofAfterBlob, Answer::Missing | Answer::Busy) => Consequence::Unproven,
    }
}

/// How long after `busy` a proof is asked for once more: soon enough that each interval has its answer.
pub fn busy_for(retry_after: Duration, interval: Duration) -> Duration {
    retry_after.min(interval / 4)
}

/// Whether a failure outside of the drawn half counts in the round's tally, where a drawn one stands for `stride`
/// replicas: one in so many does.
pub fn counts_undrawn(stride: u32, random: u64) -> bool {
    below(stride.max(1), random) == 0
}

/// Misses after which the blob comes and is proven in time are forgiven for one in a hundred of a day's challenges, and one a day
/// in any case: a node with few blobs has bad moments, too.
pub fn may_forgive(challenges_today: u64, forgiven_today: u64) -> bool {
    forgiven_today < (challenges_today / 100).max(1)
}

#[cfg(test)]
mod tests;
