//! Days as nodes spend them, and what is measured of them.

use std::collections::HashMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

const DAY_MS: i64 = 86_400_000;

/// A round trip when the node is there.
const WAY: i64 = 20;

/// The samples that one coordinator takes of a node in a day.
#[derive(Default)]
struct Taken(HashMap<i64, [u8; 64]>);

impl Taken {
    fn note(&mut self, at: i64, answered: bool) {
        let (slot, place) = place_of(window_of(ms(at)));
        let window = &mut self.0.entry(slot).or_insert([0; 64])[place];
        *window = Samples::from_byte(*window).with(answered).to_byte();
    }

    fn rows(&self) -> Vec<SlotSamples> {
        let rows = self.0.iter();
        rows.map(|(slot, windows)| SlotSamples {
            slot: *slot,
            windows: *windows,
        })
        .collect()
    }
}

/// How long a node that is `there` or not takes to answer what it is asked at `at`; `None` when that is too long.
fn answered_after(there: &impl Fn(i64) -> bool, at: i64) -> Option<i64> {
    let latest = within(false) - WAY;
    let mut waits = (0..=latest).step_by(10);
    waits.find(|wait| there(at + wait)).map(|wait| wait + WAY)
}

fn within(after_silence: bool) -> i64 {
    let way = Duration::from_millis(WAY as u64);
    answer_within(Some(way), 0, after_silence).as_millis() as i64
}

fn sample(taken: &mut Taken, seed: u64, range: std::ops::Range<i64>, there: impl Fn(i64) -> bool) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut at, mut silent) = (range.start, false);
    loop {
        at += gap(rng.random()).as_millis() as i64;
        if at >= range.end {
            return;
        }
        let answered = answered_after(&there, at);
        taken.note(at, answered.is_some_and(|after| after <= within(silent)));
        silent = answered.is_none();
    }
}

fn day() -> Stretch {
    Stretch::new(ms(0), ms(DAY_MS))
}

fn measured(seed: u64, there: impl Fn(i64) -> bool) -> i64 {
    let mut taken = Taken::default();
    sample(&mut taken, seed, 0..DAY_MS, there);
    i64::from(day().uptime_ppm([], taken.rows()))
}

fn truth(there: impl Fn(i64) -> bool) -> i64 {
    let there = (0..DAY_MS).step_by(500).filter(|at| there(*at)).count() as i64;
    there * 1_000_000 / (DAY_MS / 500)
}

/// There for `on` and away for `off` milliseconds, over and over, beginning at `phase`.
fn pattern(on: i64, off: i64, phase: i64) -> impl Fn(i64) -> bool {
    move |at| (at + phase).rem_euclid(on + off) < on
}

const POINT: i64 = 10_000;

#[test]
fn silences_of_half_a_minute_and_more_are_measured_within_a_point() {
    for off in [30, 45, 60, 90, 300, 3600, 4 * 3600] {
        for on in [1, 5, 15, 30, 60, 600, 7200] {
            for phase in [0, 2500] {
                let there = pattern(on * 1000, off * 1000, phase);
                for seed in 0..2 {
                    let error = measured(seed, &there) - truth(&there);
                    assert!(error.abs() <= POINT, "{on} s on, {off} s off: {error} ppm");
                }
            }
        }
    }
}

#[test]
fn silences_of_five_seconds_and_more_are_measured_within_three_points() {
    for off in [5, 6, 8, 10, 12, 15, 20, 29] {
        for on in [1, 3, 5, 10, 15, 20, 60, 600] {
            for phase in [0, 2500] {
                let there = pattern(on * 1000, off * 1000, phase);
                for seed in 0..2 {
                    let error = measured(seed, &there) - truth(&there);
                    assert!(
                        error.abs() <= 3 * POINT,
                        "{on} s on, {off} s off: {error} ppm"
                    );
                }
            }
        }
    }
}

#[test]
fn a_node_that_is_frozen_for_12_of_15_seconds_is_there_for_a_fifth_of_the_time() {
    let there = pattern(3_000, 12_000, 0);
    let measured = measured(1, there);
    assert!((measured - 200_000).abs() < 3 * POINT, "{measured}");
}

#[test]
fn in_phase_with_windows_heartbeats_or_slots_nothing_is_gained() {
    for period in [5, 10, 15, 20, 640] {
        for phase in (0..period).step_by(5) {
            let there = pattern(period * 500, period * 500, phase * 1000);
            let error = measured(7, &there) - truth(&there);
            assert!(
                error.abs() <= 3 * POINT,
                "{period} s at {phase}: {error} ppm"
            );
        }
    }
}

#[test]
fn whoever_answers_and_then_goes_away_is_seen_through() {
    for away in [1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 300_000] {
        let (mut rng, mut taken) = (StdRng::seed_from_u64(1), Taken::default());
        let (mut at, mut back_at, mut absent) = (0, 0, 0);
        while at < DAY_MS {
            at += gap(rng.random()).as_millis() as i64;
            let answered = at >= back_at;
            taken.note(at.min(DAY_MS - 1), answered);
            if answered {
                back_at = at + away;
                absent += away.min(DAY_MS - at.min(DAY_MS));
            }
        }
        let measured = i64::from(day().uptime_ppm([], taken.rows()));
        let error = measured - (1_000_000 - absent * 1_000_000 / DAY_MS);
        assert!(
            error.abs() <= 3 * POINT / 2,
            "away for {away} ms: {error} ppm"
        );
    }
}

#[test]
fn silences_at_random_are_measured_within_a_point() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut changes, mut at) = (Vec::new(), 0);
        while at < DAY_MS {
            at += rng.random_range(30_000..600_000);
            changes.push(at);
        }
        let there = |at: i64| changes.partition_point(|change| *change <= at) % 2 == 0;
        let error = measured(seed, there) - truth(there);
        assert!(error.abs() <= POINT, "{error} ppm");
    }
}

#[test]
fn whoever_is_always_there_has_all_of_it_and_whoever_never_is_has_none() {
    assert_eq!(measured(1, |_| true), 1_000_000);
    assert_eq!(measured(1, |_| false), 0);
}

#[test]
fn gaps_are_five_seconds_on_average_and_remember_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let gaps: Vec<f64> = (0..100_000)
        .map(|_| gap(rng.random()).as_secs_f64())
        .collect();
    let mean = |gaps: &[f64]| gaps.iter().sum::<f64>() / gaps.len() as f64;
    assert!((mean(&gaps) - 5.0).abs() < 0.05, "{}", mean(&gaps));
    let rest: Vec<f64> = gaps
        .iter()
        .filter(|gap| **gap > 7.0)
        .map(|gap| gap - 7.0)
        .collect();
    assert!((mean(&rest) - 5.0).abs() < 0.1, "{}", mean(&rest));
    assert!(gap(1.0) < Duration::from_secs(600));
}

#[test]
fn an_answer_may_be_a_quarter_of_a_second_later_than_the_fastest() {
    let millis = Duration::from_millis;
    assert_eq!(answer_within(Some(millis(30)), 0, false), millis(280));
    assert_eq!(
        answer_within(Some(millis(600)), 0, false),
        millis(850),
        "by satellite"
    );
    assert_eq!(
        answer_within(Some(millis(60_000)), 0, false),
        millis(1250),
        "on purpose"
    );
    assert_eq!(answer_within(None, 0, false), millis(1250));
    assert_eq!(
        answer_within(Some(millis(30)), 0, true),
        millis(90),
        "it has come back since"
    );
    assert_eq!(
        answer_within(Some(millis(30)), 512 * 1024, false),
        millis(780)
    );
    assert_eq!(
        answer_within(Some(millis(30)), u64::MAX, false),
        millis(1280)
    );
}

#[test]
fn the_time_in_which_the_coordinator_was_away_is_nobodys_loss() {
    // It was away for six hours. Of the other 18 the node was off for 3.
    let (mut taken, hour) = (Taken::default(), 3_600_000);
    let there = |at: i64| at >= 3 * hour;
    sample(&mut taken, 1, 0..6 * hour, there);
    sample(&mut taken, 2, 12 * hour..DAY_MS, there);
    let measured = i64::from(day().uptime_ppm([], taken.rows()));
    assert!((measured - 833_333).abs() < POINT, "{measured}");
    assert_eq!(day().uptime_ppm([], []), 1_000_000);
}

#[test]
fn a_node_is_there_when_any_coordinator_hears_it() {
    // One of two coordinators loses its way to the node for half of the day; the node freezes now and then.
    let there = pattern(60_000, 30_000, 0);
    let (mut one, mut other) = (Taken::default(), Taken::default());
    sample(&mut one, 1, 0..DAY_MS, &there);
    sample(&mut other, 2, 0..DAY_MS, |at| at < DAY_MS / 2 && there(at));
    let rows = [one.rows(), other.rows()].concat();
    let error = i64::from(day().uptime_ppm([], rows)) - truth(&there);
    assert!(error.abs() <= POINT, "{error} ppm");
}

#[test]
fn bits_of_earlier_releases_stand_where_no_samples_do() {
    let first_slot = |seen, observed| vec![(0, seen, observed)];
    let ten_minutes = Stretch::new(ms(0), ms(640_000));
    let of_bits = |seen, observed| ten_minutes.uptime_ppm(first_slot(seen, observed), []);
    assert_eq!(of_bits(u64::MAX, u64::MAX), 1_000_000);
    assert_eq!(of_bits(u64::MAX >> 32, u64::MAX), 500_000);
    assert_eq!(
        of_bits(0xff, 0xffff),
        500_000,
        "the others count for nothing"
    );
    // An upgrade in the middle: bits, then samples.
    let mut taken = Taken::default();
    sample(&mut taken, 1, 320_000..640_000, |_| false);
    let upgraded = ten_minutes.uptime_ppm(first_slot(0xffff_ffff, 0xffff_ffff), taken.rows());
    assert!((440_000..=520_000).contains(&upgraded), "{upgraded}");
}

#[test]
fn a_rule_of_a_later_release_is_told_from_that_of_an_earlier_one() {
    assert_eq!(Rule::from_number(None), Some(Rule::Windows));
    for rule in [Rule::Windows, Rule::Samples] {
        assert_eq!(Rule::from_number(Some(rule.number())), Some(rule));
    }
    assert_eq!(Rule::from_number(Some(3)), None);
}

proptest! {
    #[test]
    fn whatever_is_kept_gives_a_share(
        rows in prop::collection::vec((-2i64..20, any::<[u8; 32]>(), any::<[u8; 32]>()), 0..8),
        bits in prop::collection::vec((-2i64..20, any::<u64>(), any::<u64>()), 0..8),
    ) {
        let rows = rows.into_iter().map(|(slot, first, last)| {
            let mut windows = [0; 64];
            windows[..32].copy_from_slice(&first);
            windows[32..].copy_from_slice(&last);
            SlotSamples { slot, windows }
        });
        let stretch = Stretch::new(ms(0), ms(6_400_000));
        prop_assert!(stretch.uptime_ppm(bits, rows) <= 1_000_000);
    }

    #[test]
    fn samples_are_what_was_noted(answers in prop::collection::vec(any::<bool>(), 0..40)) {
        let mut samples = Samples::default();
        for answered in &answers {
            samples = Samples::from_byte(samples.with(*answered).to_byte());
        }
        let kept = &answers[..answers.len().min(15)];
        prop_assert_eq!(usize::from(samples.taken), kept.len());
        prop_assert_eq!(usize::from(samples.answered), kept.iter().filter(|a| **a).count());
    }

    #[test]
    fn days_in_a_row_share_no_window(cut in 0i64..DAY_MS, end in 0i64..DAY_MS) {
        let end = cut + end;
        let (first, second) = (Stretch::new(ms(0), ms(cut)), Stretch::new(ms(cut), ms(end)));
        let all = Stretch::new(ms(0), ms(end));
        for window in 0..=window_of(ms(end)) {
            let days = usize::from(first.contains(window)) + usize::from(second.contains(window));
            prop_assert_eq!(days, usize::from(all.contains(window)));
        }
    }
}
