//! Which answers can be answers to which questions.

use bytes::Bytes;
use proptest::prelude::*;
use proto::{
    BlobId, BlobRange, GroupDigest, InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest,
    Locator, MAX_INVENTORY_GROUPS, MAX_INVENTORY_ITEMS, MAX_INVENTORY_RANGES, Message, protocols,
};

use crate::values;

fn id(n: u8) -> BlobId {
    BlobId::from_bytes([n; 32])
}

fn range(first: u8, last: u8) -> BlobRange {
    BlobRange {
        first: id(first),
        last: id(last),
    }
}

fn digests(group: u32) -> InventoryRequest {
    let ask = InventoryAsk::Digests { group };
    InventoryRequest::new(vec![range(10, 20), range(30, 40)], ask).unwrap()
}

fn list() -> InventoryRequest {
    InventoryRequest::new(vec![range(10, 20), range(30, 40)], InventoryAsk::Items).unwrap()
}

fn groups(lasts: &[u8], resume_from: Option<u8>) -> InventoryAnswer {
    let group = |last: &u8| GroupDigest {
        count: 3,
        digest: [0; 32],
        last: id(*last),
    };
    InventoryAnswer {
        groups: lasts.iter().map(group).collect(),
        resume_from: resume_from.map(id),
        ..InventoryAnswer::default()
    }
}

fn item(n: u8) -> InventoryItem {
    InventoryItem {
        blob_id: id(n),
        length: 1,
        age_s: 0,
        locator: Locator::from_bytes([0; 64]),
        trashed: false,
        trashed_age_s: None,
    }
}

fn items(ids: &[u8], resume_from: Option<u8>) -> InventoryAnswer {
    InventoryAnswer {
        items: ids.iter().copied().map(item).collect(),
        resume_from: resume_from.map(id),
        ..InventoryAnswer::default()
    }
}

#[test]
fn an_answer_in_order_and_in_its_ranges_is_one() {
    for lasts in [&[][..], &[10], &[20], &[12, 20, 30, 40], &[35]] {
        assert_eq!(digests(3).check(&groups(lasts, None)), Ok(()), "{lasts:?}");
        assert_eq!(list().check(&items(lasts, None)), Ok(()), "{lasts:?}");
    }
    for resume_from in [13, 20, 30, 40] {
        assert_eq!(list().check(&items(&[12], Some(resume_from))), Ok(()));
    }
    assert_eq!(list().check(&items(&[], Some(11))), Ok(()));
}

#[test]
fn an_answer_out_of_order_or_out_of_its_ranges_is_refused() {
    for ids in [
        &[9][..],
        &[21],
        &[25],
        &[41],
        &[12, 12],
        &[12, 11],
        &[30, 20],
        &[12, 25, 30],
    ] {
        assert!(digests(3).check(&groups(ids, None)).is_err(), "{ids:?}");
        assert!(list().check(&items(ids, None)).is_err(), "{ids:?}");
    }
}

#[test]
fn an_answer_that_does_not_go_on_is_refused() {
    for resume_from in [0, 10, 12, 25, 41] {
        let answer = items(&[12], Some(resume_from));
        assert!(list().check(&answer).is_err(), "{resume_from}");
    }
    assert!(list().check(&items(&[], Some(10))).is_err());
}

#[test]
fn an_answer_to_another_question_is_refused() {
    assert!(digests(3).check(&items(&[12], None)).is_err());
    assert!(list().check(&groups(&[12], None)).is_err());
    assert!(
        digests(2).check(&groups(&[12], None)).is_err(),
        "three in a group of two"
    );
}

#[test]
fn what_is_left_unsaid_is_asked_for_next() {
    let rest = |resume_from: u8| list().rest(Some(id(resume_from))).unwrap();
    assert_eq!(rest(15).ranges(), [range(15, 20), range(30, 40)]);
    assert_eq!(rest(30).ranges(), [range(30, 40)]);
    assert_eq!(rest(40).ranges(), [range(40, 40)]);
    assert_eq!(list().rest(None), None);
}

#[test]
fn ranges_that_are_none_are_refused() {
    let refused = |ranges: Vec<BlobRange>| {
        assert!(InventoryRequest::new(ranges, InventoryAsk::Items).is_err());
    };
    refused(Vec::new());
    refused(vec![range(2, 1)]);
    refused(vec![range(1, 2), range(2, 3)]);
    refused(vec![range(3, 4), range(1, 2)]);
    refused((0..=MAX_INVENTORY_RANGES).map(|_| range(1, 1)).collect());
    for group in [0, 65_537] {
        let ask = InventoryAsk::Digests { group };
        assert!(InventoryRequest::new(vec![range(1, 2)], ask).is_err());
    }
}

#[test]
fn the_largest_answers_fit_their_frame() {
    let group = GroupDigest {
        count: 65_536,
        digest: [0xff; 32],
        last: id(255),
    };
    let full = InventoryAnswer {
        groups: vec![group; MAX_INVENTORY_GROUPS],
        items: Vec::new(),
        resume_from: Some(id(1)),
    };
    fits(full);
    let most = InventoryItem {
        length: u64::MAX,
        age_s: u64::MAX,
        trashed: true,
        trashed_age_s: Some(u64::MAX),
        ..item(255)
    };
    let full = InventoryAnswer {
        groups: Vec::new(),
        items: vec![most; MAX_INVENTORY_ITEMS],
        resume_from: Some(id(1)),
    };
    fits(full.clone());
    let mut beyond = full;
    beyond.items.push(item(255));
    assert!(InventoryAnswer::from_bytes(beyond.into_frame().to_bytes()).is_err());
}

fn fits(answer: InventoryAnswer) {
    let frame: Bytes = answer.clone().into_frame().to_bytes();
    assert!(frame.len() <= protocols::INVENTORY.max_frame_bytes);
    assert_eq!(InventoryAnswer::from_bytes(frame), Ok(answer));
}

proptest! {
    #[test]
    fn each_id_has_its_neighbours(id in values::blob_id()) {
        if let Some(next) = id.next() {
            prop_assert!(next > id);
            prop_assert_eq!(next.previous(), Some(id));
        } else {
            prop_assert_eq!(id, BlobRange::ALL.last);
        }
    }

    #[test]
    fn the_rest_begins_where_the_answer_has_ended(
        request in values::inventory_request(),
        stops in prop::collection::btree_set(any::<[u8; 32]>(), 0..50),
    ) {
        let mut next = Some(request.clone());
        for stop in stops.into_iter().map(BlobId::from_bytes) {
            let Some(asked) = next.clone() else { break };
            let answer = InventoryAnswer {
                resume_from: Some(stop),
                ..InventoryAnswer::default()
            };
            if asked.check(&answer).is_ok() {
                let rest = asked.rest(Some(stop)).unwrap();
                prop_assert_eq!(rest.ranges()[0].first, stop);
                let end = |request: &InventoryRequest| request.ranges().last().map(|r| r.last);
                prop_assert_eq!(end(&rest), end(&request));
                next = Some(rest);
            }
        }
    }
}

#[test]
fn the_ends_of_all_ids_have_no_neighbours() {
    assert_eq!(BlobRange::ALL.first.previous(), None);
    assert_eq!(BlobRange::ALL.last.next(), None);
    let carry = BlobId::from_bytes(std::array::from_fn(|i| if i == 31 { 0xff } else { 7 }));
    assert_eq!(carry.next().and_then(|next| next.previous()), Some(carry));
}
