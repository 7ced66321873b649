//! Plans of rounds, and what follows from answers.

use std::collections::HashMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::reputation::{Losses, Passes, Reputation, Score, Tally, Vetting};
use model::node_state::{Holds, NodeState};

const DESIGN: Sampling = Sampling {
    limit: 512,
    interval: Duration::from_secs(4 * 3600),
};

fn seed(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn plan(replicas: u64, number: u64) -> RoundPlan {
    RoundPlan::new(replicas, DESIGN, 0, seed(number))
}

fn cells(plan: &RoundPlan) -> Vec<Cell> {
    (0..plan.messages()).map(|place| plan.cell(place)).collect()
}

/// First eight bytes of that many blob ids, in order.
fn blobs(count: usize) -> Vec<u64> {
    let mut rng = StdRng::seed_from_u64(count as u64);
    let mut ids: Vec<u64> = (0..count).map(|_| rng.random()).collect();
    ids.sort_unstable();
    ids
}

/// Which of these are in the cell, by index.
fn found<'a>(blobs: &'a [u64], cell: &Cell) -> impl Iterator<Item = usize> + use<'a> {
    let first = blobs.partition_point(|id| id < cell.ids.start());
    let behind = blobs.partition_point(|id| id <= cell.ids.end());
    first..behind
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_node_within_the_limit_is_asked_for_every_replica_once(count in 0usize..=512, number: u64) {
        let blobs = blobs(count);
        let mut asked: Vec<usize> = cells(&plan(count as u64, number))
            .iter()
            .inspect(|cell| assert!(cell.drawn && cell.weight_ppm == WEIGHT_ONE))
            .flat_map(|cell| found(&blobs, cell).collect::<Vec<_>>())
            .collect();
        asked.sort_unstable();
        prop_assert_eq!(asked, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn cells_lie_in_the_id_space_and_do_not_overlap(replicas in 0u64..50_000_000, number: u64, from: u64) {
        let plan = RoundPlan::new(replicas, DESIGN, from, seed(number));
        for drawn in [true, false] {
            let all = cells(&RoundPlan { drawn: plan.drawn.min(40), turns: plan.turns.min(40), ..plan });
            let mut ranges: Vec<_> = all.into_iter().filter(|cell| cell.drawn == drawn).map(|cell| cell.ids).collect();
            ranges.sort_by_key(|ids| *ids.start());
            prop_assert!(ranges.iter().all(|ids| ids.start() <= ids.end()));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()));
        }
    }

    #[test]
    fn messages_are_due_in_order_within_the_window(replicas in 0u64..100_000, number: u64) {
        let plan = plan(replicas, number);
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let end = start + SignedDuration::from_hours(4);
        let mut previous = start;
        for message in 0..plan.messages() {
            let due = plan.due_at(message, previous, end);
            prop_assert!((previous..=end).contains(&due));
            previous = due;
        }
    }

    #[test]
    fn the_turn_comes_to_each_replica_within_30_days(count in 513usize..1500, number: u64) {
        let blobs = blobs(count);
        let mut seen = vec![false; count];
        let mut from = 0;
        for round in 0..180 {
            let plan = RoundPlan::new(count as u64, DESIGN, from, seed(number.wrapping_add(round)));
            for cell in cells(&plan).iter().filter(|cell| !cell.drawn) {
                found(&blobs, cell).for_each(|blob| seen[blob] = true);
            }
            from = plan.next_turn();
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}

#[test]
fn a_huge_node_is_asked_for_no_more_than_its_turn_and_half_as_many_by_chance() {
    for replicas in [600_u64, 10_000, 92_160, 1_000_000, 30_000_000] {
        let plan = plan(replicas, 1);
        let share = replicas.div_ceil(180);
        let asked = u64::from(plan.messages()) * CELL_FILL;
        assert!(
            asked <= (share * 3 / 2).max(512) + 2 * CELL_FILL,
            "{replicas}"
        );
        // What 180 turns cover is everything.
        let span = u128::from(plan.turn_to - plan.turn_from) + 1;
        assert!(span * 180 >= u128::from(u64::MAX), "{replicas}");
    }
}

#[test]
fn every_replica_is_drawn_equally_often_however_its_neighbours_lie() {
    // Half of the blobs are crowded into a thousandth of the id space.
    let mut ids = blobs(1500);
    ids.extend(blobs(1500).into_iter().map(|id| id / 1000));
    ids.sort_unstable();
    let mut hits: HashMap<usize, u32> = HashMap::new();
    const ROUNDS: u64 = 1500;
    for number in 0..ROUNDS {
        for cell in cells(&plan(3000, number)).iter().filter(|cell| cell.drawn) {
            found(&ids, cell).for_each(|blob| *hits.entry(blob).or_default() += 1);
        }
    }
    let stride = f64::from(plan(3000, 0).stride);
    let expected = ROUNDS as f64 / stride;
    let spread = (expected * (1.0 - 1.0 / stride)).sqrt();
    for blob in 0..ids.len() {
        let hits = f64::from(hits.get(&blob).copied().unwrap_or(0));
        assert!(
            (hits - expected).abs() < 6.0 * spread,
            "{blob}: {hits} of {expected}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_round_and_another_seed_another() {
    assert_eq!(cells(&plan(3000, 7)), cells(&plan(3000, 7)));
    assert_ne!(cells(&plan(3000, 7)), cells(&plan(3000, 8)));
}

#[test]
fn moments_are_spread_evenly_over_the_window() {
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let end = start + SignedDuration::from_hours(4);
    let mut quarters = [0_u32; 4];
    for number in 0..500 {
        let plan = plan(100, number);
        let mut previous = start;
        for message in 0..plan.messages() {
            previous = plan.due_at(message, previous, end);
            let share = previous.duration_since(start).as_secs() / 3600;
            quarters[(share as usize).min(3)] += 1;
        }
    }
    let mean = quarters.iter().sum::<u32>() / 4;
    assert!(
        quarters.iter().all(|hits| hits.abs_diff(mean) < mean / 10),
        "{quarters:?}"
    );
}

#[test]
fn the_messages_of_a_round_are_its_cells_in_an_order_of_its_own() {
    let (one, other) = (plan(3000, 1), plan(3000, 2));
    let order =
        |plan: &RoundPlan| -> Vec<u32> { (0..plan.messages()).map(|n| plan.place(n)).collect() };
    let mut sorted = order(&one);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..one.messages()).collect::<Vec<_>>());
    assert_ne!(order(&one), order(&other));
}

#[test]
fn a_miss_fails_after_the_third_vain_request_for_the_whole_blob() {
    let mut question = Question::Proof;
    let mut asked = 0;
    while let Consequence::Miss { attempts } = consequence(question, Answer::Missing) {
        question = Question::WholeBlob { attempts };
        asked += 1;
    }
    assert_eq!(asked, 3, "a challenge and two requests before the last");
    assert_eq!(consequence(question, Answer::Missing), Consequence::Fail);
    assert_eq!(consequence(Question::Proof, Answer::Bad), Consequence::Fail);
}

const EVERY_ANSWER: [Answer; 4] = [Answer::Good, Answer::Bad, Answer::Missing, Answer::Busy];

#[test]
fn a_whole_blob_is_no_proof_and_only_a_proof_in_time_passes() {
    for attempts in 0..3 {
        for answer in EVERY_ANSWER {
            let consequence = consequence(Question::WholeBlob { attempts }, answer);
            assert_ne!(consequence, Consequence::Pass, "{answer:?}");
        }
    }
    let blob = Question::WholeBlob { attempts: 0 };
    assert_eq!(consequence(blob, Answer::Good), Consequence::Held);
    let after = Question::ProofAfterBlob;
    assert_eq!(consequence(after, Answer::Good), Consequence::Pass);
    assert_eq!(consequence(after, Answer::Busy), Consequence::Unproven);
}

#[test]
fn while_a_miss_is_followed_up_the_next_proof_is_a_miss_of_its_own() {
    for attempts in 0..3 {
        let question = Question::ProofMeanwhile { attempts };
        assert!(question.is_due_proof());
        for answer in [Answer::Missing, Answer::Busy] {
            let miss = Consequence::Miss { attempts };
            assert_eq!(consequence(question, answer), miss);
        }
    }
}

#[test]
fn a_busy_node_is_asked_again_within_the_interval() {
    let [second, hour] = [1, 3600].map(Duration::from_secs);
    assert_eq!(busy_for(hour, 4 * hour), hour);
    assert_eq!(busy_for(hour, 4 * second), second);
}

#[test]
fn of_failures_that_were_not_drawn_as_many_count_as_of_those_that_were() {
    let mut rng = StdRng::seed_from_u64(1);
    let counted = (0..10_000).filter(|_| counts_undrawn(8, rng.random()));
    let counted = counted.count();
    assert!((1150..1350).contains(&counted), "{counted}");
    assert!((0..100).all(|_| counts_undrawn(1, rng.random())));
}

#[test]
fn a_node_may_be_busy_once() {
    assert_eq!(
        consequence(Question::Proof, Answer::Busy),
        Consequence::AskAgain
    );
    let again = consequence(Question::ProofAgain, Answer::Busy);
    assert_eq!(again, Consequence::Miss { attempts: 0 });
}

#[test]
fn one_miss_in_a_hundred_is_forgiven_and_one_a_day_in_any_case() {
    assert!(may_forgive(10, 0) && !may_forgive(10, 1));
    assert!(may_forgive(1000, 9) && !may_forgive(1000, 10));
}

const VETTING: Vetting = Vetting {
    chunk_bytes: 0,
    time: SignedDuration::ZERO,
};

/// Days until a node that has lost this share of its blobs for good enters each state.
fn simulate(replicas: usize, lost: f64, rounds: u32, keeps_turn: bool) -> Vec<(f64, NodeState)> {
    let blobs = blobs(replicas);
    let mut rng = StdRng::seed_from_u64(1);
    let lost: Vec<bool> = (0..replicas).map(|_| rng.random_bool(lost)).collect();
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let mut node = Reputation {
        state: NodeState::Active,
        state_since: start,
        score: Score::START,
        passed: Passes::default(),
        probation_since: start,
        losses: Losses::default(),
        holds: Holds::default(),
    };
    let (mut changes, mut from) = (Vec::new(), 0);
    for round in 1..=rounds {
        let plan = RoundPlan::new(replicas as u64, DESIGN, from, seed(u64::from(round)));
        let mut tally = Tally::default();
        for cell in cells(&plan).iter().filter(|cell| cell.drawn) {
            for blob in found(&blobs, cell) {
                let in_turn = keeps_turn && (plan.turn_from..=plan.turn_to).contains(&blobs[blob]);
                if lost[blob] && !in_turn {
                    tally.failed += 1;
                } else {
                    tally.passed += 1;
                }
            }
        }
        from = plan.next_turn();
        let end = start + SignedDuration::from_hours(4) * round as i32;
        let (next, change) = node.after_round(tally, VETTING, end);
        changes.extend(change.map(|change| (f64::from(round) / 6.0, change.to)));
        node = next;
        if node.state == NodeState::Disqualified {
            break;
        }
    }
    changes
}

/// Half a year of rounds, for a node that is asked for all of its replicas and one that is sampled.
const SIZES: [usize; 2] = [400, 5000];

#[test]
fn one_percent_of_true_loss_never_suspends() {
    for size in SIZES {
        assert_eq!(simulate(size, 0.01, 1095, false), [], "{size}");
    }
}

#[test]
fn three_percent_of_true_loss_suspends_and_never_disqualifies() {
    for size in SIZES {
        let changes = simulate(size, 0.03, 1095, false);
        assert!(!changes.is_empty(), "{size}");
        assert!(
            changes
                .iter()
                .all(|(_, state)| *state != NodeState::Disqualified),
            "{changes:?}"
        );
    }
}

#[test]
fn ten_percent_of_true_loss_disqualifies_in_about_8_days() {
    for size in SIZES {
        let changes = simulate(size, 0.1, 1095, false);
        let &(days, state) = changes.last().unwrap();
        assert_eq!(state, NodeState::Disqualified);
        assert!((6.0..12.0).contains(&days), "{size}: {days}");
    }
}

#[test]
fn a_node_that_keeps_only_what_its_turn_will_ask_is_out_in_two_days() {
    let changes = simulate(5000, 1.0, 1095, true);
    let &(days, state) = changes.last().unwrap();
    assert_eq!(state, NodeState::Disqualified);
    assert!(days <= 2.0, "{days}");
}

#[test]
fn what_is_gone_by_order_counts_no_more_and_nobody_is_blamed_however_it_was_asked_for() {
    let questions = [
        Question::Proof,
        Question::ProofAgain,
        Question::WholeBlob { attempts: 2 },
    ];
    for question in questions {
        assert_eq!(consequence(question, Answer::Ordered), Consequence::Excused);
    }
}
