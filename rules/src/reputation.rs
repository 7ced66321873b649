//! How far the network trusts a node: a score from its proofs, and what follows from the score.
//!
//! A round's share of passed challenges moves two integers, α and β, which forget one hundredth of
//! themselves each round. Integers, so that any coordinator computes the same. The drawn half of a
//! round counts, whose members a node cannot foresee. Rejected: lifetime totals, under which an old
//! node could lose a great deal before it showed.

use jiff::{SignedDuration, Timestamp};

use model::node_state::{NodeState, score_ppm};

/// Below this a node gets nothing new.
pub const SUSPENDED_BELOW_PPM: u32 = 980_000;

/// Below this it is out.
pub const DISQUALIFIED_BELOW_PPM: u32 = 960_000;

/// Challenges that a node has to pass before it counts as vetted.
pub const PROBATION_PASSES: u64 = 100;

/// After a round of which half failed: time for the operator to find the unmounted disk.
pub const MASS_FAILURE_HOLD: SignedDuration = SignedDuration::from_hours(24);

/// After this long a suspended node that holds nothing may begin anew.
pub const SUSPENSION_ENDS_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

const UNIT: u64 = 1_000_000;

/// score = 10⁶·α/(α+β).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    pub alpha: u64,
    pub beta: u64,
}

impl Score {
    pub const START: Self = Self {
        alpha: 100 * UNIT,
        beta: 0,
    };

    pub fn ppm(self) -> u32 {
        score_ppm(self.alpha, self.beta)
    }

    /// p = passed·10⁶/(passed+failed); α = ⌊0.99α⌋ + p; β = ⌊0.99β⌋ + (10⁶ − p).
    fn after(self, tally: Tally) -> Self {
        let Some(passed) = (UNIT * tally.passed).checked_div(tally.judged()) else {
            return self;
        };
        let fade = |sum: u64| (u128::from(sum) * 99 / 100) as u64;
        Self {
            alpha: fade(self.alpha) + passed,
            beta: fade(self.beta) + (UNIT - passed),
        }
    }
}

/// The outcomes of a round's drawn half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    const fn judged(self) -> u64 {
        self.passed + self.failed
    }

    const fn half_failed(self) -> bool {
        self.failed > 0 && self.failed >= self.passed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reputation {
    pub state: NodeState,
    pub state_since: Timestamp,
    pub score: Score,
    pub passed_challenges: u64,
    /// When a round first failed by half; cleared when the hold is over and a round was better.
    pub mass_failure_at: Option<Timestamp>,
}

/// A new state, and what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub to: NodeState,
    pub reason: String,
}

/// Whether a node is to get nothing new because half of a round failed then.
pub fn on_hold(mass_failure_at: Option<Timestamp>, now: Timestamp) -> bool {
    mass_failure_at.is_some_and(|at| now.duration_since(at) < MASS_FAILURE_HOLD)
}

impl Reputation {
    pub fn on_hold(&self, now: Timestamp) -> bool {
        on_hold(self.mass_failure_at, now)
    }

    /// A round has ended. Without a pass or a fail it changes nothing.
    #[must_use]
    pub fn after_round(self, tally: Tally, now: Timestamp) -> (Self, Option<StateChange>) {
        if tally.judged() == 0 || self.state == NodeState::Disqualified {
            return (self, None);
        }
        let mut next = Self {
            score: self.score.after(tally),
            ..self
        };
        let change = next.change_by_score(now, tally);
        // The hold began with the first bad round; worse rounds do not prolong it.
        if !self.on_hold(now) {
            next.mass_failure_at = tally.half_failed().then_some(now);
        }
        (next.entered(change.as_ref(), now), change)
    }

    fn change_by_score(&self, now: Timestamp, tally: Tally) -> Option<StateChange> {
        let score = self.score.ppm();
        let first_bad_round = self.mass_failure_at.is_none() && tally.half_failed();
        let protected = self.on_hold(now) || first_bad_round;
        let change = |to, reason: &str| {
            Some(StateChange {
                to,
                reason: format!("{reason} (score {score} of 1000000)"),
            })
        };
        if score < DISQUALIFIED_BELOW_PPM && !protected {
            return change(
                NodeState::Disqualified,
                "too many proofs failed: the score is below 960000",
            );
        }
        match self.state {
            NodeState::Probation | NodeState::Active if score < SUSPENDED_BELOW_PPM => change(
                NodeState::Suspended,
                "too many proofs failed: the score is below 980000",
            ),
            NodeState::Suspended if score >= SUSPENDED_BELOW_PPM => {
                change(self.unsuspended(), "the score has recovered")
            }
            _ => None,
        }
    }

    /// The state of a node that is neither out nor leaving.
    pub fn by_score(&self) -> NodeState {
        if self.score.ppm() < SUSPENDED_BELOW_PPM {
            NodeState::Suspended
        } else {
            self.unsuspended()
        }
    }

    const fn unsuspended(&self) -> NodeState {
        if self.passed_challenges >= PROBATION_PASSES {
            NodeState::Active
        } else {
            NodeState::Probation
        }
    }

    /// Challenges were passed, of whichever half.
    #[must_use]
    pub fn after_passes(self, passed: u64, now: Timestamp) -> (Self, Option<StateChange>) {
        let next = Self {
            passed_challenges: self.passed_challenges.saturating_add(passed),
            ..self
        };
        let vetted =
            next.state == NodeState::Probation && next.passed_challenges >= PROBATION_PASSES;
        let change = vetted.then(|| StateChange {
            to: NodeState::Active,
            reason: format!("{} challenges passed", next.passed_challenges),
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
            passed_challenges: 0,
            mass_failure_at: None,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUND: SignedDuration = SignedDuration::from_hours(4);

    fn at(rounds: i32) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + ROUND * rounds
    }

    fn active() -> Reputation {
        Reputation {
            state: NodeState::Active,
            state_since: at(0),
            score: Score::START,
            passed_challenges: PROBATION_PASSES,
            mass_failure_at: None,
        }
    }

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    /// States entered, with the rounds that have ended by then.
    fn changes(
        mut node: Reputation,
        rounds: i32,
        outcome: impl Fn(i32) -> Tally,
    ) -> Vec<(i32, NodeState)> {
        let mut changes = Vec::new();
        for round in 1..=rounds {
            let (next, change) = node.after_round(outcome(round), at(round));
            changes.extend(change.map(|change| (round, change.to)));
            node = next;
        }
        changes
    }

    #[test]
    fn a_node_that_lost_everything_is_suspended_within_12_h_and_out_24_to_28_h_after() {
        let changes = changes(active(), 12, |_| tally(0, 100));
        let [
            (suspended, NodeState::Suspended),
            (out, NodeState::Disqualified),
        ] = changes[..]
        else {
            panic!("{changes:?}");
        };
        assert!(suspended * 4 <= 12);
        assert!((24..=28).contains(&((out - 1) * 4)), "{out}");
    }

    #[test]
    fn one_percent_of_loss_is_borne_for_ever() {
        assert_eq!(changes(active(), 10_000, |_| tally(99, 1)), []);
    }

    #[test]
    fn three_percent_of_loss_suspends_and_never_disqualifies() {
        let changes = changes(active(), 10_000, |_| tally(97, 3));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].1, NodeState::Suspended);
    }

    #[test]
    fn ten_percent_of_loss_disqualifies_in_about_8_days() {
        let changes = changes(active(), 10_000, |_| tally(90, 10));
        let &(round, state) = changes.last().unwrap();
        assert_eq!(state, NodeState::Disqualified);
        let days = f64::from(round) * 4.0 / 24.0;
        assert!((7.0..9.0).contains(&days), "{days}");
    }

    #[test]
    fn a_disk_that_was_unmounted_for_half_a_day_costs_no_node_its_place() {
        let changes = changes(active(), 200, |round| {
            if round <= 3 {
                tally(0, 50)
            } else {
                tally(50, 0)
            }
        });
        let states: Vec<_> = changes.into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [NodeState::Suspended, NodeState::Active]);
    }

    #[test]
    fn while_on_hold_a_node_gets_nothing_new_and_afterwards_it_does() {
        let (held, _) = active().after_round(tally(5, 5), at(1));
        assert!(held.on_hold(at(1)) && held.on_hold(at(6)) && !held.on_hold(at(7)));
        let (better, _) = held.after_round(tally(10, 0), at(2));
        assert!(better.on_hold(at(2)));
        let (clear, _) = better.after_round(tally(10, 0), at(7));
        assert_eq!(clear.mass_failure_at, None);
    }

    #[test]
    fn a_round_without_an_outcome_changes_nothing() {
        let node = active();
        assert_eq!(node.after_round(Tally::default(), at(1)), (node, None));
    }

    #[test]
    fn probation_ends_with_the_hundredth_pass() {
        let new = active().anew(NodeState::Probation, at(0));
        let (almost, change) = new.after_passes(99, at(1));
        assert_eq!(change, None);
        let (vetted, change) = almost.after_passes(1, at(2));
        assert_eq!(change.map(|change| change.to), Some(NodeState::Active));
        assert_eq!(
            (vetted.state, vetted.state_since),
            (NodeState::Active, at(2))
        );
    }

    #[test]
    fn a_node_suspended_on_probation_comes_back_to_probation() {
        let new = active().anew(NodeState::Probation, at(0));
        let states: Vec<_> = changes(
            new,
            60,
            |round| {
                if round <= 3 { tally(0, 1) } else { tally(1, 0) }
            },
        );
        let states: Vec<_> = states.into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [NodeState::Suspended, NodeState::Probation]);
    }

    #[test]
    fn a_suspended_node_that_holds_nothing_begins_anew_after_30_days() {
        let suspended = Reputation {
            state: NodeState::Suspended,
            score: Score { alpha: 97, beta: 3 },
            ..active()
        };
        assert_eq!(suspended.without_replicas(at(179)).1, None);
        let (anew, change) = suspended.without_replicas(at(180));
        assert_eq!(change.map(|change| change.to), Some(NodeState::Probation));
        assert_eq!((anew.score, anew.passed_challenges), (Score::START, 0));
        assert_eq!(active().without_replicas(at(1000)).1, None);
    }

    #[test]
    fn a_draining_node_goes_on_draining_unless_it_is_out() {
        let draining = Reputation {
            state: NodeState::Draining,
            ..active()
        };
        assert_eq!(changes(draining, 1000, |_| tally(97, 3)), []);
        let out = changes(draining, 1000, |_| tally(90, 10));
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].1, NodeState::Disqualified);
    }

    #[test]
    fn a_node_that_is_called_back_from_draining_is_what_its_score_makes_it() {
        let draining = Reputation {
            state: NodeState::Draining,
            ..active()
        };
        assert_eq!(draining.by_score(), NodeState::Active);
        let new = Reputation {
            passed_challenges: 3,
            ..draining
        };
        assert_eq!(new.by_score(), NodeState::Probation);
        let poor = Reputation {
            score: Score { alpha: 97, beta: 3 },
            ..draining
        };
        assert_eq!(poor.by_score(), NodeState::Suspended);
    }

    proptest! {
        #[test]
        fn the_score_stays_within_its_scale(rounds in prop::collection::vec((0u64..2000, 0u64..2000), 0..300)) {
            let mut score = Score::START;
            for (passed, failed) in rounds {
                score = score.after(tally(passed, failed));
                prop_assert!(score.ppm() <= 1_000_000);
                // Both fade towards a hundred rounds' worth.
                prop_assert!(score.alpha + score.beta <= 100 * UNIT);
                prop_assert!(score.alpha + score.beta >= 99 * UNIT);
            }
        }
    }
}
