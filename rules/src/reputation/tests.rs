//! What rounds, losses and silence make of a node.

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
        passed: enough(),
        probation_since: at(-1000),
        losses: Losses::default(),
        holds: Holds::default(),
    }
}

const CHUNK: u64 = 1 << 18;

/// Of a network of chunks of 256 KiB.
const VETTING: Vetting = Vetting {
    chunk_bytes: CHUNK,
    time: SignedDuration::from_hours(72),
};

fn enough() -> Passes {
    Passes {
        count: PROBATION_PASSES,
        bytes: VETTING.bytes(),
    }
}

fn chunks(count: u64) -> Passes {
    Passes {
        count,
        bytes: count * CHUNK,
    }
}

fn tally(passed: u64, failed: u64) -> Tally {
    Tally {
        passed,
        failed,
        ..Tally::default()
    }
}

fn late(passed: u64, missed: u64) -> Tally {
    Tally {
        passed,
        missed,
        ..Tally::default()
    }
}

fn told(passed: u64, reported: u64) -> Tally {
    Tally {
        passed,
        reported,
        ..Tally::default()
    }
}

fn poor() -> Score {
    Score {
        alpha: 97,
        beta: 3,
        missed: 0,
    }
}

/// States entered, with the rounds that have ended by then.
fn changes(
    mut node: Reputation,
    rounds: i32,
    outcome: impl Fn(i32) -> Tally,
) -> Vec<(i32, NodeState)> {
    let mut changes = Vec::new();
    for round in 1..=rounds {
        let (next, change) = node.after_round(outcome(round), VETTING, at(round));
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
    let (held, _) = active().after_round(tally(5, 5), VETTING, at(1));
    assert!(held.on_hold(at(1)) && held.on_hold(at(6)) && !held.on_hold(at(7)));
    let (better, _) = held.after_round(tally(10, 0), VETTING, at(2));
    assert!(better.on_hold(at(2)));
    let (clear, _) = better.after_round(tally(10, 0), VETTING, at(7));
    assert_eq!(clear.holds.mass_failure_at, None);
}

#[test]
fn a_round_without_an_outcome_changes_nothing() {
    let node = active();
    assert_eq!(
        node.after_round(Tally::default(), VETTING, at(1)),
        (node, None)
    );
}

#[test]
fn probation_ends_with_the_hundredth_pass() {
    let new = active().anew(NodeState::Probation, at(0));
    let (almost, change) = new.after_passes(chunks(99), VETTING, at(19));
    assert_eq!(change, None);
    let (vetted, change) = almost.after_passes(chunks(1), VETTING, at(20));
    assert_eq!(change.map(|change| change.to), Some(NodeState::Active));
    assert_eq!(
        (vetted.state, vetted.state_since),
        (NodeState::Active, at(20))
    );
}

#[test]
fn probation_lasts_for_three_days_however_much_is_proven() {
    let new = active().anew(NodeState::Probation, at(0));
    let (early, change) = new.after_passes(chunks(10_000), VETTING, at(17));
    assert_eq!(change, None);
    let (_, change) = early.after_passes(chunks(1), VETTING, at(18));
    let change = change.unwrap();
    assert_eq!(change.to, NodeState::Active);
    assert!(change.reason.contains("10001 challenges") && change.reason.contains("72 h"));
}

#[test]
fn a_thousand_proofs_of_tiny_blobs_vet_nobody() {
    let new = active().anew(NodeState::Probation, at(0));
    let tiny = VETTING.passes([1; 1000]);
    let (still_new, change) = new.after_passes(tiny, VETTING, at(1000));
    assert_eq!((still_new.state, change), (NodeState::Probation, None));
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
        score: poor(),
        ..active()
    };
    assert_eq!(suspended.without_replicas(at(179)).1, None);
    let (anew, change) = suspended.without_replicas(at(180));
    assert_eq!(change.map(|change| change.to), Some(NodeState::Probation));
    assert_eq!((anew.score, anew.passed), (Score::START, Passes::default()));
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
    assert_eq!(draining.by_score(VETTING, at(0)), NodeState::Active);
    let new = Reputation {
        passed: chunks(3),
        ..draining
    };
    assert_eq!(new.by_score(VETTING, at(0)), NodeState::Probation);
    let poor = Reputation {
        score: poor(),
        ..draining
    };
    assert_eq!(poor.by_score(VETTING, at(0)), NodeState::Suspended);
}

#[test]
fn a_node_that_never_proves_in_time_is_suspended_within_a_day_and_never_out() {
    let changes = changes(active(), 10_000, |_| late(0, 12));
    let &[(round, NodeState::Suspended)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert!(round * 4 <= 24, "{round} rounds");
}

#[test]
fn the_reason_names_what_the_figures_show() {
    let suspended = |tally: Tally| {
        let mut node = active();
        for round in 1.. {
            let (next, change) = node.after_round(tally, VETTING, at(round));
            if let Some(change) = change {
                return (next.score.ppm(), change.reason);
            }
            node = next;
        }
        unreachable!()
    };
    for (tally, word) in [(late(0, 5), "in time"), (tally(0, 5), "failed")] {
        let (score, reason) = suspended(tally);
        assert!(reason.contains(word), "{reason}");
        assert!(reason.contains(&format!("score {score} of")), "{reason}");
    }
}

#[test]
fn late_proofs_of_one_in_thirty_are_borne_for_ever() {
    assert_eq!(changes(active(), 10_000, |_| late(29, 1)), []);
}

#[test]
fn a_node_that_is_mostly_late_gets_nothing_new_until_a_better_round() {
    let (held, _) = active().after_round(late(4, 4), VETTING, at(1));
    let unanswered = Some(Hold::Other(HoldCause::Unanswered));
    assert_eq!(hold(&held.holds, at(1)), unanswered);
    assert_eq!(held.holds.mass_failure_at, None, "nothing was lost");
    let (better, _) = held.after_round(late(8, 1), VETTING, at(2));
    assert_eq!(hold(&better.holds, at(2)), None);
    let (one_bad_moment, _) = active().after_round(late(0, 2), VETTING, at(1));
    assert_eq!(hold(&one_bad_moment.holds, at(1)), None);
}

#[test]
fn a_loss_that_is_reported_weighs_half_of_one_that_is_found() {
    let (found, _) = active().after_round(tally(90, 10), VETTING, at(1));
    let (known, _) = active().after_round(told(90, 10), VETTING, at(1));
    let (reported, _) = active().after_report(10, 100, at(1));
    let lost = |node: Reputation| 1_000_000 - node.score.ppm();
    assert_eq!(lost(known), lost(found) / 2);
    assert!(lost(reported).abs_diff(lost(found) / 2) <= 10);
}

#[test]
fn reports_of_more_than_a_hundredth_hold_a_node_for_hours_and_one_blob_does_not() {
    let losses = Some(Hold::Other(HoldCause::Losses));
    let (one, _) = active().after_report(1, 2, at(1));
    assert_eq!(hold(&one.holds, at(1)), None);
    let (two, _) = one.after_report(1, 2, at(1));
    assert_eq!(hold(&two.holds, at(2)), losses);
    assert_eq!(hold(&two.holds, at(3)), None, "6 h are over");
    let mut bit_by_bit = active();
    for _ in 0..10 {
        bit_by_bit = bit_by_bit.after_report(1, 1000, at(1)).0;
        assert_eq!(hold(&bit_by_bit.holds, at(1)), None);
    }
    bit_by_bit = bit_by_bit.after_report(1, 1000, at(2)).0;
    assert_eq!(hold(&bit_by_bit.holds, at(2)), losses);
    let next_day = bit_by_bit.after_report(10, 1000, at(8)).0;
    assert_eq!(hold(&next_day.holds, at(8)), None, "another day");
}

#[test]
fn reporting_everything_bit_by_bit_costs_as_much_as_at_once_and_washes_nothing() {
    let (at_once, _) = active().after_report(1000, 1000, at(1));
    let mut bit_by_bit = active();
    for _ in 0..1000 {
        bit_by_bit = bit_by_bit.after_report(1, 1000, at(1)).0;
    }
    assert_eq!(bit_by_bit.score, at_once.score);
    let (bad, _) = active().after_round(tally(0, 9), VETTING, at(1));
    let told = (0..1000).fold(bad, |node, _| node.after_report(1, 1 << 20, at(1)).0);
    assert!(told.score.ppm() <= bad.score.ppm());
}

#[test]
fn a_node_that_forges_receipts_is_on_hold_at_once_and_soon_suspended() {
    let mut node = active();
    for receipts in 1..=9 {
        let (next, change) = node.after_forged_receipts(1, at(1));
        assert_eq!(
            hold(&next.holds, at(1)),
            Some(Hold::Other(HoldCause::Receipts))
        );
        assert_eq!(change.is_some(), receipts == 9, "{receipts}");
        node = next;
    }
    assert_eq!(node.state, NodeState::Suspended);
}

#[test]
fn a_better_round_ends_no_hold_for_losses() {
    let (lost, _) = active().after_report(5, 100, at(1));
    let silent = lost.while_unanswered(at(1));
    let (better, _) = silent.after_round(tally(50, 0), VETTING, at(2));
    assert_eq!(
        hold(&better.holds, at(2)),
        Some(Hold::Other(HoldCause::Losses))
    );
}

proptest! {
    #[test]
    fn the_score_stays_within_its_scale(rounds in prop::collection::vec((0u64..2000, 0u64..2000, 0u64..2000, 0u64..2000), 0..300)) {
        let mut score = Score::START;
        for (passed, failed, missed, reported) in rounds {
            score = score.after(Tally { passed, failed, missed, reported });
            prop_assert!(score.missed <= score.beta);
            prop_assert!(score.of_losses_ppm() >= score.ppm());
            prop_assert!(score.ppm() <= 1_000_000);
            // Both fade towards a hundred rounds' worth.
            prop_assert!(score.alpha + score.beta <= 100 * UNIT);
            prop_assert!(score.alpha + score.beta >= 99 * UNIT);
        }
    }
}
