//! How far the network trusts a node: a score from its proofs, and what follows from the score.
//!
//! A round's share of passed challenges moves two integers, α and β, which forget one hundredth of
//! themselves each round. Integers, so that any coordinator computes the same. The drawn half of a
//! round counts, whose members a node cannot foresee. A proof that does not come in time, and a loss that the
//! node reports by itself, weigh half of a proof that fails. Late proofs alone suspend and never disqualify: what
//! is not proven may yet be there. Rejected: lifetime totals, under which an old node could lose a great deal
//! before it showed; and whole blobs in place of proofs, with which a node that cannot prove looked perfect.

use jiff::{SignedDuration, Timestamp};

use model::node_state::{HoldCause, Holds, NodeState, score_ppm};

/// Below this a node gets nothing new.
pub const SUSPENDED_BELOW_PPM: u32 = 980_000;

/// Below this, late proofs not counted, it is out.
pub const DISQUALIFIED_BELOW_PPM: u32 = 960_000;

/// Challenges over whole chunks that a node has to pass before it counts as vetted. Smaller blobs count for as
/// much as they have bytes.
pub const PROBATION_PASSES: u64 = 100;

/// After a round of which half failed: time for the operator to find the unmounted disk.
pub const MASS_FAILURE_HOLD: SignedDuration = SignedDuration::from_hours(24);

/// After the last loss of too many, or of a forged receipt.
pub const LOSS_HOLD: SignedDuration = SignedDuration::from_hours(6);

/// While most proofs do not come in time, and so long after it; a round that is better ends it.
pub const UNANSWERED_HOLD: SignedDuration = SignedDuration::from_hours(24);

/// Losses are added up for this long.
pub const LOSSES_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// After this long a suspended node that holds nothing may begin anew.
pub const SUSPENSION_ENDS_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// So many late proofs in a round say something of the node, and not of one bad moment.
const UNANSWERED_FROM: u64 = 3;

const UNIT: u64 = 1_000_000;

/// What a receipt for another blob than was sent costs: a quarter of a round in which everything failed.
const FORGED_RECEIPT: u64 = UNIT / 4;

/// score = 10⁶·α/(α+β).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    pub alpha: u64,
    pub beta: u64,
    /// The part of β that is owed to proofs which did not come in time.
    pub missed: u64,
}

impl Score {
    pub const START: Self = Self {
        alpha: 100 * UNIT,
        beta: 0,
        missed: 0,
    };

    pub fn ppm(self) -> u32 {
        score_ppm(self.alpha, self.beta)
    }

    /// What the score would be had every late proof come in time.
    pub fn of_losses_ppm(self) -> u32 {
        let missed = self.missed.min(self.beta);
        score_ppm(self.alpha + missed, self.beta - missed)
    }

    /// p = 10⁶·(passed + missed/2 + reported/2)/all; α = ⌊0.99α⌋ + p; β = ⌊0.99β⌋ + (10⁶ − p).
    fn after(self, tally: Tally) -> Self {
        let halves = u128::from(tally.missed) + u128::from(tally.reported);
        let good = 2 * u128::from(tally.passed) + halves;
        let all = 2 * u128::from(tally.judged());
        let share = |part: u128| {
            (u128::from(UNIT) * part)
                .checked_div(all)
                .map(|share| share as u64)
        };
        let (Some(passed), Some(missed)) = (share(good), share(tally.missed.into())) else {
            return self;
        };
        let fade = |sum: u64| (u128::from(sum) * 99 / 100) as u64;
        let beta = fade(self.beta) + (UNIT - passed);
        Self {
            alpha: fade(self.alpha) + passed,
            beta,
            missed: (fade(self.missed.min(self.beta)) + missed).min(beta),
        }
    }

    /// Moves so many millionths of a round from good to bad, between two rounds. Nothing is forgotten by it, so
    /// that telling of one loss after another washes no score.
    fn marked_down(self, by: u64) -> Self {
        let by = by.min(self.alpha);
        Self {
            alpha: self.alpha - by,
            beta: self.beta + by,
            ..self
        }
    }
}

/// The outcomes of a round's drawn half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Proven in time.
    pub passed: u64,
    pub failed: u64,
    /// Not proven in time, whatever came later.
    pub missed: u64,
    /// Known to be lost, because the node has said so.
    pub reported: u64,
}

impl Tally {
    const fn judged(self) -> u64 {
        self.passed
            .saturating_add(self.failed)
            .saturating_add(self.missed)
            .saturating_add(self.reported)
    }

    const fn half_failed(self) -> bool {
        let lost = self.failed.saturating_add(self.reported);
        lost > 0 && lost >= self.passed.saturating_add(self.missed)
    }

    /// The node leaves most of what it is asked without a proof in time.
    pub const fn mostly_missed(self) -> bool {
        self.missed >= UNANSWERED_FROM
            && self.missed
                >= self
                    .passed
                    .saturating_add(self.failed)
                    .saturating_add(self.reported)
    }
}

/// Challenges that were passed in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passes {
    pub count: u64,
    /// Plaintext bytes of what was proven.
    pub bytes: u64,
}

/// What ends probation: so many bytes proven, and so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vetting {
    /// Of the network's chunks: what is smaller counts for less than one pass, and nothing for more.
    pub chunk_bytes: u64,
    pub time: SignedDuration,
}

impl Vetting {
    const fn bytes(self) -> u64 {
        self.chunk_bytes.saturating_mul(PROBATION_PASSES)
    }

    /// What the proofs of blobs over so many bytes count for.
    pub fn passes(self, sizes: impl IntoIterator<Item = u64>) -> Passes {
        let mut passes = Passes::default();
        for size in sizes {
            passes.count += 1;
            passes.bytes = passes.bytes.saturating_add(size.min(self.chunk_bytes));
        }
        passes
    }
}

/// Replicas that a node has lost within a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// When that day began.
    pub since: Option<Timestamp>,
    pub count: u64,
}

impl Losses {
    fn with(self, lost: u64, now: Timestamp) -> Self {
        let within = |since: Timestamp| now.duration_since(since) < LOSSES_WITHIN;
        match self.since {
            Some(since) if within(since) => Self {
                count: self.count.saturating_add(lost),
                ..self
            },
            _ => Self {
                since: Some(now),
                count: lost,
            },
        }
    }

    /// More than one replica, and more than one in a hundred. One blob rots on any disk.
    const fn too_many(self, held: u64) -> bool {
        let borne = held / 100;
        self.count > if borne > 1 { borne } else { 1 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reputation {
    pub state: NodeState,
    pub state_since: Timestamp,
    pub score: Score,
    pub passed: Passes,
    /// Since when the time of vetting runs.
    pub probation_since: Timestamp,
    pub losses: Losses,
    pub holds: Holds,
}

/// A new state, and what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub to: NodeState,
    pub reason: String,
}

/// What keeps a node from new data now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    MassFailure,
    Other(HoldCause),
}

impl Hold {
    /// In words, for its operator.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MassFailure => {
                "half of a round of proofs failed: nothing new for 24 h; is a disk missing?"
            }
            Self::Other(HoldCause::Losses) => {
                "more than 1 % of its blobs were lost within a day: nothing new for 6 h; look at its disk"
            }
            Self::Other(HoldCause::Unanswered) => {
                "most of its proofs do not come in time: nothing new until they do, or for 24 h; look at its \
                 disk, its line and proofs.disk_share"
            }
            Self::Other(HoldCause::Receipts) => {
                "it signed receipts for other blobs than it was sent: nothing new for 6 h; look at its software \
                 and its memory"
            }
        }
    }
}

/// Whether a node is to get nothing new now, and why.
pub fn hold(holds: &Holds, now: Timestamp) -> Option<Hold> {
    if mass_failure(holds, now) {
        return Some(Hold::MassFailure);
    }
    let (until, cause) = holds.until?;
    (now < until).then_some(Hold::Other(cause))
}

fn mass_failure(holds: &Holds, now: Timestamp) -> bool {
    let at = holds.mass_failure_at;
    at.is_some_and(|at| now.duration_since(at) < MASS_FAILURE_HOLD)
}

impl Reputation {
    pub fn on_hold(&self, now: Timestamp) -> bool {
        hold(&self.holds, now).is_some()
    }

    /// A round has ended. Without an outcome it changes nothing.
    #[must_use]
    pub fn after_round(
        self,
        tally: Tally,
        vetting: Vetting,
        now: Timestamp,
    ) -> (Self, Option<StateChange>) {
        if tally.judged() == 0 || self.state == NodeState::Disqualified {
            return (self, None);
        }
        let mut next = Self {
            score: self.score.after(tally),
            ..self
        };
        let change = next.change_by_round(now, tally, vetting);
        // The hold began with the first bad round; worse rounds do not prolong it.
        if !mass_failure(&self.holds, now) {
            next.holds.mass_failure_at = tally.half_failed().then_some(now);
        }
        if tally.mostly_missed() {
            next = next.while_unanswered(now);
        } else if matches!(next.holds.until, Some((_, HoldCause::Unanswered))) {
            next.holds.until = None;
        }
        (next.entered(change.as_ref(), now), change)
    }

    fn change_by_round(
        &self,
        now: Timestamp,
        tally: Tally,
        vetting: Vetting,
    ) -> Option<StateChange> {
        let of_losses = self.score.of_losses_ppm();
        let first_bad_round = self.holds.mass_failure_at.is_none() && tally.half_failed();
        let protected = mass_failure(&self.holds, now) || first_bad_round;
        if of_losses < DISQUALIFIED_BELOW_PPM && !protected {
            let figure = match self.score.missed {
                0 => String::new(),
                _ => ", proofs that were only late not counted".to_owned(),
            };
            return Some(StateChange {
                to: NodeState::Disqualified,
                reason: format!(
                    "too many proofs failed: the score is below 960000 (score {of_losses} of 1000000{figure})"
                ),
            });
        }
        if self.state == NodeState::Suspended && self.score.ppm() >= SUSPENDED_BELOW_PPM {
            let score = self.score.ppm();
            return Some(StateChange {
                to: self.unsuspended(vetting, now),
                reason: format!("the score has recovered (score {score} of 1000000)"),
            });
        }
        self.suspension()
    }

    /// What a score that is too low makes of a node that is neither out nor leaving.
    fn suspension(&self) -> Option<StateChange> {
        let score = self.score.ppm();
        let may_be = matches!(self.state, NodeState::Probation | NodeState::Active);
        if !may_be || score >= SUSPENDED_BELOW_PPM {
            return None;
        }
        let what = match self.score.of_losses_ppm() < SUSPENDED_BELOW_PPM {
            true => "too many proofs failed",
            false => "too many proofs did not come in time",
        };
        Some(StateChange {
            to: NodeState::Suspended,
            reason: format!("{what}: the score is below 980000 (score {score} of 1000000)"),
        })
    }

    /// The node has told that it lost so many of the replicas that it held: half of what it costs to be caught, at
    /// once.
    #[must_use]
    pub fn after_report(self, lost: u64, held: u64, now: Timestamp) -> (Self, Option<StateChange>) {
        let part = u128::from(UNIT) * u128::from(lost) / (2 * u128::from(held.max(lost).max(1)));
        let next = Self {
            score: self.score.marked_down(part as u64),
            ..self.after_losses(lost, held, now)
        };
        let change = next.suspension();
        (next.entered(change.as_ref(), now), change)
    }

    /// So many of the replicas that it holds were found lost.
    #[must_use]
    pub fn after_losses(self, lost: u64, held: u64, now: Timestamp) -> Self {
        if lost == 0 {
            return self;
        }
        let next = Self {
            losses: self.losses.with(lost, now),
            ..self
        };
        match next.losses.too_many(held) {
            true => next.held(LOSS_HOLD, HoldCause::Losses, now),
            false => next,
        }
    }

    /// The node has signed so many receipts for something else than it was sent.
    #[must_use]
    pub fn after_forged_receipts(
        self,
        receipts: u64,
        now: Timestamp,
    ) -> (Self, Option<StateChange>) {
        let next = Self {
            score: self
                .score
                .marked_down(FORGED_RECEIPT.saturating_mul(receipts)),
            ..self.held(LOSS_HOLD, HoldCause::Receipts, now)
        };
        let change = next.suspension().map(|change| StateChange {
            reason: format!(
                "it signs receipts for other blobs than it is sent: the score is below 980000 (score {} of 1000000)",
                next.score.ppm()
            ),
            ..change
        });
        (next.entered(change.as_ref(), now), change)
    }

    /// Most of what a round has asked so far was not proven in time.
    #[must_use]
    pub fn while_unanswered(self, now: Timestamp) -> Self {
        self.held(UNANSWERED_HOLD, HoldCause::Unanswered, now)
    }

    /// The longer hold stays; one that a better round would end gives way to any other.
    fn held(self, hold: SignedDuration, cause: HoldCause, now: Timestamp) -> Self {
        let until = now.saturating_add(hold).unwrap_or(Timestamp::MAX);
        let stays = self.holds.until.is_some_and(|(before, why)| match cause {
            HoldCause::Unanswered => why != cause && before > now,
            _ => why != HoldCause::Unanswered && before > until,
        });
        if stays {
            return self;
        }
        Self {
            holds: Holds {
                until: Some((until, cause)),
                ..self.holds
            },
            ..self
        }
    }

    /// The state of a node that is neither out nor leaving.
    pub fn by_score(&self, vetting: Vetting, now: Timestamp) -> NodeState {
        if self.score.ppm() < SUSPENDED_BELOW_PPM {
            NodeState::Suspended
        } else {
            self.unsuspended(vetting, now)
        }
    }

    fn is_vetted(&self, vetting: Vetting, now: Timestamp) -> bool {
        self.passed.bytes >= vetting.bytes()
            && now.duration_since(self.probation_since) >= vetting.time
    }

    fn unsuspended(&self, vetting: Vetting, now: Timestamp) -> NodeState {
        if self.is_vetted(vetting, now) {
            NodeState::Active
        } else {
            NodeState::Probation
        }
    }

    /// Challenges were passed in time, of whichever half.
    #[must_use]
    pub fn after_passes(
        self,
        passed: Passes,
        vetting: Vetting,
        now: Timestamp,
    ) -> (Self, Option<StateChange>) {
        let next = Self {
            passed: Passes {
                count: self.passed.count.saturating_add(passed.count),
                bytes: self.passed.bytes.saturating_add(passed.bytes),
            },
            ..self
        };
        let vetted = next.state == NodeState::Probation && next.is_vetted(vetting, now);
        let change = vetted.then(|| StateChange {
            to: NodeState::Active,
            reason: format!(
                "{} challenges passed in time, over {} bytes, and {} h on probation",
                next.passed.count,
                next.passed.bytes,
                now.duration_since(next.probation_since).as_hours()
            ),
        });
        (next.entered(change.as_ref(), now), change)
    }

    /// A suspended node that holds nothing can prove nothing: after 30 days it begins anew.
    #[must_use]
    pub fn without_replicas(self, now: Timestamp) -> (Self, Option<StateChange>) {
        let over = now.duration_since(self.state_since) >= SUSPENSION_ENDS_AFTER;
        if self.state != NodeState::Suspended || !over {
            return (self, None);
        }
        (
            self.anew(NodeState::Probation, now),
            Some(StateChange {
                to: NodeState::Probation,
                reason: "suspended for 30 days and holds nothing any more: it begins anew"
                    .to_owned(),
            }),
        )
    }

    /// With a clean score, as after an administrator's pardon.
    #[must_use]
    pub fn anew(self, state: NodeState, now: Timestamp) -> Self {
        Self {
            state,
            state_since: now,
            score: Score::START,
            passed: Passes::default(),
            probation_since: now,
            losses: Losses::default(),
            holds: Holds::default(),
        }
    }

    fn entered(self, change: Option<&StateChange>, now: Timestamp) -> Self {
        match change {
            Some(change) => Self {
                state: change.to,
                state_since: now,
                ..self
            },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests;
