//! Comparisons of a node with the database, put right only where little differs.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proto::{InventoryAsk, MAX_GROUP_BLOBS};

use super::*;

fn id(n: u8) -> BlobId {
    BlobId::from_bytes([n; 32])
}

fn range(first: u8, last: u8) -> BlobRange {
    BlobRange {
        first: id(first),
        last: id(last),
    }
}

/// What an honest node answers that holds these.
fn told(held: &BTreeSet<u8>, request: &InventoryRequest, group: usize) -> InventoryAnswer {
    let mut answer = InventoryAnswer::default();
    for range in request.ranges() {
        let here: Vec<BlobId> = held
            .iter()
            .map(|n| id(*n))
            .filter(|id| range.contains(id))
            .collect();
        for ids in here.chunks(group) {
            let mut digest = IdsDigest::default();
            ids.iter().for_each(|id| digest.add(id));
            answer.groups.push(GroupDigest {
                count: digest.count(),
                digest: digest.finish(),
                last: ids[ids.len() - 1],
            });
        }
    }
    answer
}

fn ask(ranges: Vec<BlobRange>) -> InventoryRequest {
    let group = MAX_GROUP_BLOBS;
    InventoryRequest::new(ranges, InventoryAsk::Digests { group }).unwrap()
}

fn doubtful(spans: Vec<Span>, named: &BTreeSet<u8>) -> Vec<BlobRange> {
    let covered: Vec<_> = spans.iter().map(|span| span.range).collect();
    let mut comparison = Comparison::new(spans);
    for id in named.iter().map(|n| id(*n)) {
        if covered.iter().any(|range| range.contains(&id)) {
            comparison.see(&id);
        }
    }
    comparison.finish().iter().map(|span| span.range).collect()
}

#[test]
fn spans_end_where_groups_end_and_where_the_answer_ends() {
    let request = ask(vec![range(10, 50), range(60, 90)]);
    let mut answer = told(&[12, 20, 30, 65].into(), &request, 2);
    let ranges = |answer: &InventoryAnswer| {
        let spans = spans(&request, answer);
        let spans = spans
            .iter()
            .map(|span| (span.range, span.told.map(|told| told.count)));
        spans.collect::<Vec<_>>()
    };
    let behind = |n: u8| id(n).next().unwrap();
    let between = |first: BlobId, last: BlobId| BlobRange { first, last };
    let expected = vec![
        (range(10, 20), Some(2)),
        (between(behind(20), id(30)), Some(1)),
        (between(behind(30), id(50)), None),
        (range(60, 65), Some(1)),
        (between(behind(65), id(90)), None),
    ];
    assert_eq!(ranges(&answer), expected);

    answer.groups.truncate(2);
    answer.resume_from = Some(id(40));
    let mut cut = expected[..2].to_vec();
    cut.push((between(behind(30), id(40).previous().unwrap()), None));
    assert_eq!(ranges(&answer), cut);
    answer.resume_from = Some(id(60));
    assert_eq!(ranges(&answer), expected[..3]);
}

#[test]
fn equal_sides_differ_nowhere() {
    let request = ask(vec![BlobRange::ALL]);
    for held in [&[][..], &[1], &[0, 255], &[3, 4, 5, 6, 7, 8]] {
        let held: BTreeSet<u8> = held.iter().copied().collect();
        let answer = told(&held, &request, 2);
        assert_eq!(doubtful(spans(&request, &answer), &held), []);
    }
}

proptest! {
    #[test]
    fn every_difference_lies_in_a_doubtful_span_and_every_doubtful_span_has_one(
        held: BTreeSet<u8>,
        named: BTreeSet<u8>,
        group in 1_usize..20,
    ) {
        let request = ask(vec![range(10, 120), range(121, 121), range(140, 255)]);
        let inside = |n: &u8| request.ranges().iter().any(|range| range.contains(&id(*n)));
        let answer = told(&held, &request, group);
        let spans = spans(&request, &answer);
        for pair in spans.windows(2) {
            prop_assert!(pair[0].range.last < pair[1].range.first);
        }
        let doubtful = doubtful(spans, &named);
        let differences: Vec<_> = held.symmetric_difference(&named).copied().filter(inside).collect();
        for n in &differences {
            prop_assert!(doubtful.iter().any(|range| range.contains(&id(*n))));
        }
        for range in doubtful {
            prop_assert!(differences.iter().any(|n| range.contains(&id(*n))));
        }
    }
}

fn findings(held: u64, named: u64, unknown: u64, missing: u64) -> Findings {
    Findings {
        held,
        named,
        unknown,
        missing,
        ..Findings::default()
    }
}

#[test]
fn a_few_differences_or_few_in_proportion_are_put_right() {
    for (held, named, unknown, missing) in [
        (0, 0, 0, 0),
        (5, 5, 0, 0),
        (100, 1, 99, 0),
        (150, 100, 60, 40),
        (20_000, 20_000, 100, 100),
        (1_000_000, 1_000_000, 0, 10_000),
        (0, 100, 0, 100),
    ] {
        assert_eq!(findings(held, named, unknown, missing).doubt(), None);
    }
}

#[test]
fn much_at_once_is_doubted() {
    for (held, named, unknown, missing) in [
        (5000, 5000, 101, 0),
        (5000, 5000, 0, 101),
        (5000, 5000, 51, 50),
        (0, 101, 0, 101),
        (1_000_000, 1_000_000, 10_001, 0),
    ] {
        let doubt = findings(held, named, unknown, missing).doubt();
        assert_eq!(
            doubt,
            Some(Doubt::TooMuch),
            "{held} {named} {unknown} {missing}"
        );
    }
    let cut_short = Findings {
        cut_short: true,
        ..findings(1 << 40, 1 << 40, 1, 0)
    };
    assert_eq!(cut_short.doubt(), Some(Doubt::TooMuch));
}

#[test]
fn a_database_that_names_nothing_throws_nothing_away() {
    assert_eq!(findings(3, 0, 3, 0).doubt(), Some(Doubt::EmptyDatabase));
    assert_eq!(findings(3, 0, 0, 0).doubt(), None, "all of it is new");
}

#[test]
fn a_blob_is_nobodys_only_when_no_upload_can_be_under_way() {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    assert_eq!(nobodys_after(hours(24)), hours(25));
    assert_eq!(nobodys_after(Duration::MAX), Duration::MAX);
}
