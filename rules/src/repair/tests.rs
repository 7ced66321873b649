//! What chunks need and what can go, on examples and on whatever replicas there may be.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use model::scheme::Scheme;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn replica(n: u8) -> Replica {
    Replica {
        node_id: NodeId::from_uuid(Uuid::from_u128(n.into())),
        blob_id: BlobId::of(&[n]),
        piece: 0,
        node_state: NodeState::Active,
        presence: Presence::Online,
        demoted_at: None,
        earns: true,
        suspect: false,
        used_bytes: 0,
        capacity_bytes: 1600,
        domains: FailureDomains::default(),
    }
}

fn three() -> Vec<Replica> {
    (0..3).map(replica).collect()
}

fn healthy_and_missing(replicas: &[Replica]) -> (usize, usize) {
    let Health { healthy, missing } = health(replicas, Scheme::copies(3));
    (healthy, missing.len())
}

#[test]
fn a_node_that_is_offline_for_less_than_the_grace_still_counts() {
    let mut replicas = three();
    assert_eq!(healthy_and_missing(&replicas), (3, 0));
    replicas[0].presence = Presence::Offline;
    assert_eq!(healthy_and_missing(&replicas), (3, 0));
    replicas[0].presence = Presence::Away;
    assert_eq!(healthy_and_missing(&replicas), (2, 1));
}

#[test]
fn with_one_readable_replica_left_there_is_no_grace_and_one_copy_is_made_at_once() {
    let mut replicas = three();
    replicas[0].presence = Presence::Offline;
    replicas[1].presence = Presence::Offline;
    assert_eq!(healthy_and_missing(&replicas), (1, 1));
    replicas.push(replica(3));
    assert_eq!(healthy_and_missing(&replicas), (4, 0));
}

#[test]
fn a_single_copy_was_promised_and_a_single_copy_is_enough() {
    assert_eq!(
        health(&[replica(0)], Scheme::copies(1)),
        Health {
            healthy: 1,
            missing: Vec::new()
        }
    );
}

#[test]
fn a_draining_node_counts_as_a_copy_and_not_for_the_promise() {
    let mut replicas = three();
    replicas[0].node_state = NodeState::Draining;
    assert_eq!(healthy_and_missing(&replicas), (3, 1));
    assert_eq!(
        plan(&replicas, Scheme::copies(3), NOW),
        Plan::default(),
        "it earns until its successor is there"
    );

    let mut successor = replica(3);
    successor.earns = false;
    replicas.push(successor);
    let moved = Plan {
        remove: vec![0],
        stop_earning: vec![0],
        start_earning: vec![3],
    };
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW), moved);
}

#[test]
fn a_demoted_replica_stays_until_the_others_are_enough_and_a_failed_one_for_a_month() {
    let mut replicas = three();
    replicas[0].demoted_at = Some(NOW);
    replicas[0].earns = false;
    assert_eq!(healthy_and_missing(&replicas), (2, 1));
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW), Plan::default());
    replicas.push(replica(3));
    assert_eq!(
        plan(&replicas, Scheme::copies(3), NOW),
        Plan::default(),
        "the audit still counts it"
    );
    let month = NOW + LOSS_REMEMBERED_FOR * 2;
    assert_eq!(plan(&replicas, Scheme::copies(3), month).remove, [0]);
    replicas[0].node_state = NodeState::Disqualified;
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW).remove, [0]);
}

#[test]
fn an_absent_node_earns_until_another_has_taken_its_place() {
    let mut replicas = three();
    replicas[0].presence = Presence::Away;
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW), Plan::default());
    let mut new = replica(3);
    new.earns = false;
    replicas.push(new);
    let replaced = Plan {
        remove: vec![],
        stop_earning: vec![0],
        start_earning: vec![3],
    };
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW), replaced);
}

#[test]
fn of_too_many_the_worst_placed_goes() {
    let remove = |change: fn(&mut Replica)| {
        let mut replicas: Vec<Replica> = (0..4).map(replica).collect();
        replicas[3].earns = false;
        change(&mut replicas[1]);
        plan(&replicas, Scheme::copies(3), NOW)
    };
    let (stop, start) = (vec![1], vec![3]);
    let second = Plan {
        remove: vec![1],
        stop_earning: stop,
        start_earning: start,
    };
    assert_eq!(remove(|replica| replica.used_bytes = 1000), second);
    assert_eq!(
        remove(|replica| replica.node_state = NodeState::Suspended),
        second
    );
    assert_eq!(remove(|replica| replica.suspect = true), second);
    let alone = |replica: &mut Replica| replica.presence = Presence::Offline;
    assert_eq!(
        remove(alone).remove,
        [] as [usize; 0],
        "nothing that can be read is given up for it"
    );

    // Two on one node: one of them, whatever else there is.
    let mut replicas: Vec<Replica> = (0..4).map(replica).collect();
    replicas[2].node_id = replicas[0].node_id;
    replicas[1].suspect = true;
    let removed = plan(&replicas, Scheme::copies(3), NOW).remove;
    assert!(removed == [0] || removed == [2], "{removed:?}");

    // Two in one region: one of them, though others are fuller.
    let mut replicas: Vec<Replica> = (0..4).map(replica).collect();
    replicas[0].domains.region = Some("eu".to_owned());
    replicas[2].domains.region = Some("eu".to_owned());
    replicas[1].used_bytes = 1600;
    assert_eq!(plan(&replicas, Scheme::copies(3), NOW).remove, [2]);
}

#[test]
fn pauses_grow_up_to_a_bound() {
    let seconds = |attempts| retry_pause(2, attempts).as_secs();
    assert_eq!((seconds(1), seconds(2), seconds(4)), (5, 10, 40));
    assert_eq!((seconds(8), seconds(u32::MAX)), (300, 300));
    let of_last = |attempts| retry_pause(1, attempts).as_secs();
    assert_eq!((of_last(1), of_last(2), of_last(9)), (5, 10, 15));
}

fn any_replica() -> impl Strategy<Value = Replica> {
    let states = prop::sample::select(vec![
        NodeState::Probation,
        NodeState::Active,
        NodeState::Suspended,
        NodeState::Draining,
        NodeState::Drained,
        NodeState::Disqualified,
    ]);
    let presences = prop::sample::select(vec![Presence::Online, Presence::Offline, Presence::Away]);
    (
        states,
        presences,
        prop::option::of(0_i64..100),
        any::<bool>(),
        any::<bool>(),
        0_u64..1600,
    )
        .prop_map(
            |(node_state, presence, demoted_days, earns, suspect, used_bytes)| Replica {
                node_state,
                presence,
                demoted_at: demoted_days
                    .map(|days| NOW - jiff::SignedDuration::from_hours(days * 24)),
                earns,
                suspect,
                used_bytes,
                ..replica(0)
            },
        )
}

proptest! {
    #[test]
    fn what_a_plan_takes_away_is_never_missed(
        replicas in prop::collection::vec(any_replica(), 0..9),
        target in 1_usize..5,
    ) {
        let replicas: Vec<Replica> = replicas.into_iter().enumerate().map(|(n, any)| {
            let Replica { node_id, blob_id, .. } = replica(n as u8);
            Replica { node_id, blob_id, ..any }
        }).collect();
        let before = health(&replicas, Scheme::copies(target as u32));
        let plan = plan(&replicas, Scheme::copies(target as u32), NOW);
        let keeps = |at: &usize| !plan.remove.contains(at);
        let kept: Vec<Replica> = (0..replicas.len()).filter(keeps).map(|at| replicas[at].clone()).collect();
        let after = health(&kept, Scheme::copies(target as u32));
        prop_assert!(after.missing.len() <= before.missing.len());
        if !plan.remove.is_empty() {
            prop_assert!(after.missing.is_empty());
            let safe = kept.iter().filter(|replica| replica.stays() && replica.is_readable());
            prop_assert_eq!(safe.count(), target);
        }

        let earns = |at: &usize| {
            let replica = &replicas[*at];
            plan.start_earning.contains(at) || (replica.earns && !plan.stop_earning.contains(at))
        };
        let earners: Vec<usize> = (0..replicas.len()).filter(earns).collect();
        prop_assert!(earners.len() <= target);
        prop_assert!(earners.iter().all(|at| keeps(at) && replicas[*at].demoted_at.is_none()));
        prop_assert!(plan.stop_earning.iter().all(|at| replicas[*at].earns));
        prop_assert!(plan.start_earning.iter().all(|at| !replicas[*at].earns));

        // Once is enough.
        let settled: Vec<Replica> = (0..replicas.len()).filter(keeps).map(|at| Replica {
            earns: earns(&at),
            ..replicas[at].clone()
        }).collect();
        prop_assert_eq!(super::plan(&settled, Scheme::copies(target as u32), NOW), Plan::default());
    }
}

#[test]
fn of_a_whole_chunk_the_replica_that_shares_most_domains_is_misplaced() {
    let region = |name: &str| FailureDomains {
        region: Some(name.to_owned()),
        ..FailureDomains::default()
    };
    let mut replicas = three();
    assert_eq!(
        misplaced(&replicas, Scheme::copies(3)),
        None,
        "of nothing is known where it is"
    );
    for (replica, name) in replicas.iter_mut().zip(["a", "b", "c"]) {
        replica.domains = region(name);
    }
    assert_eq!(misplaced(&replicas, Scheme::copies(3)), None);
    replicas[2].domains = region("a");
    replicas[2].used_bytes = 1600;
    assert_eq!(
        misplaced(&replicas, Scheme::copies(3)),
        Some(2),
        "the fuller one of the two"
    );
    replicas[1].suspect = true;
    assert_eq!(
        misplaced(&replicas, Scheme::copies(3)),
        None,
        "first it has to be safe"
    );
    replicas[1].suspect = false;
    replicas[1].presence = Presence::Offline;
    assert_eq!(misplaced(&replicas, Scheme::copies(3)), None);
    replicas[1].presence = Presence::Online;
    assert_eq!(
        misplaced(&replicas, Scheme::copies(4)),
        None,
        "a copy more will be made anyway"
    );
}

/// Of a chunk that is coded 8 of 12, all its pieces, each on a node of its own.
fn twelve() -> Vec<Replica> {
    let piece = |n: u8| Replica {
        piece: n,
        ..replica(n)
    };
    (0..12).map(piece).collect()
}

fn dense() -> Scheme {
    Scheme::coded(8, 12).unwrap()
}

fn coded(replicas: &[Replica]) -> (usize, Vec<u8>) {
    let Health { healthy, missing } = health(replicas, dense());
    (healthy, missing)
}

#[test]
fn a_first_lost_piece_waits_for_a_second_and_then_both_are_made() {
    let mut replicas = twelve();
    assert_eq!(coded(&replicas), (12, vec![]));
    replicas[3].presence = Presence::Away;
    assert_eq!(coded(&replicas), (11, vec![]));
    replicas[10].demoted_at = Some(NOW);
    assert_eq!(coded(&replicas), (10, vec![3, 10]));
}

#[test]
fn a_second_blob_with_a_piece_makes_a_chunk_no_safer() {
    let mut replicas = twelve();
    replicas[3].presence = Presence::Away;
    replicas[10].presence = Presence::Away;
    let twice = Replica {
        piece: 0,
        ..replica(12)
    };
    replicas.push(twice);
    assert_eq!(coded(&replicas), (10, vec![3, 10]));
    let plan = plan(&replicas, dense(), NOW);
    assert!(plan.remove == [0] || plan.remove == [12], "{plan:?}");
}

#[test]
fn a_piece_on_a_draining_node_is_moved_at_once_and_goes_when_it_is_elsewhere() {
    let mut replicas = twelve();
    replicas[2].node_state = NodeState::Draining;
    assert_eq!(coded(&replicas), (12, vec![2]));
    replicas[7].presence = Presence::Away; // a first loss still waits
    assert_eq!(coded(&replicas).1, [2, 7], "with the move it is the second");
    replicas[7].presence = Presence::Online;
    assert_eq!(plan(&replicas, dense(), NOW), Plan::default());
    replicas.push(Replica {
        piece: 2,
        earns: false,
        ..replica(12)
    });
    let moved = Plan {
        remove: vec![2],
        stop_earning: vec![2],
        start_earning: vec![12],
    };
    assert_eq!(coded(&replicas), (12, vec![]));
    assert_eq!(plan(&replicas, dense(), NOW), moved);
}

#[test]
fn with_as_many_readable_pieces_as_are_needed_there_is_no_grace() {
    let mut replicas = twelve();
    for replica in &mut replicas[8..] {
        replica.presence = Presence::Offline;
    }
    // All count, and one more is made at once, of those that cannot be read.
    assert_eq!(coded(&replicas), (8, vec![8]));
    replicas[7].presence = Presence::Offline;
    assert_eq!(coded(&replicas), (7, vec![7, 8]));
    replicas[6].node_state = NodeState::Draining;
    // What is moved can be read already: it makes the chunk no safer.
    replicas[7].presence = Presence::Online;
    assert_eq!(coded(&replicas), (8, vec![6, 8]));
}

#[test]
fn a_failed_piece_goes_after_a_month_only_where_it_is_elsewhere() {
    let mut replicas = twelve();
    replicas[5].demoted_at = Some(NOW);
    replicas[5].earns = false;
    let month = NOW + LOSS_REMEMBERED_FOR * 2;
    assert_eq!(plan(&replicas, dense(), month), Plan::default());
    replicas.push(Replica {
        piece: 5,
        ..replica(12)
    });
    assert_eq!(plan(&replicas, dense(), NOW), Plan::default());
    assert_eq!(plan(&replicas, dense(), month).remove, [5]);
}

#[test]
fn two_pieces_may_share_a_region_and_the_third_is_misplaced() {
    let mut replicas = twelve();
    for replica in &mut replicas[..2] {
        replica.domains.region = Some("eu".to_owned());
    }
    assert_eq!(misplaced(&replicas, dense()), None);
    replicas[11].domains.region = Some("eu".to_owned());
    replicas[11].used_bytes = 1600;
    assert_eq!(misplaced(&replicas, dense()), Some(11));
}

proptest! {
    #[test]
    fn what_a_plan_takes_away_of_pieces_is_never_missed(
        replicas in prop::collection::vec((any_replica(), 0_u8..6), 0..14),
    ) {
        let scheme = Scheme::coded(3, 6).unwrap();
        let replicas: Vec<Replica> = replicas.into_iter().enumerate().map(|(n, (any, piece))| {
            let Replica { node_id, blob_id, .. } = replica(n as u8);
            Replica { node_id, blob_id, piece, ..any }
        }).collect();
        let before = health(&replicas, scheme);
        let plan = plan(&replicas, scheme, NOW);
        let keeps = |at: &usize| !plan.remove.contains(at);
        let kept: Vec<Replica> = (0..replicas.len()).filter(keeps).map(|at| replicas[at].clone()).collect();
        let after = health(&kept, scheme);
        // What leaves a draining node has a successor; nothing else changes.
        prop_assert_eq!(after.missing, before.missing);
        for at in &plan.remove {
            let successor = |other: &Replica| {
                other.piece == replicas[*at].piece && other.stays() && other.is_readable()
            };
            prop_assert!(kept.iter().any(successor));
        }
        let earns = |at: &usize| {
            let replica = &replicas[*at];
            plan.start_earning.contains(at) || (replica.earns && !plan.stop_earning.contains(at))
        };
        let earners: Vec<usize> = (0..replicas.len()).filter(earns).collect();
        let mut pieces: Vec<u8> = earners.iter().map(|at| replicas[*at].piece).collect();
        pieces.sort_unstable();
        let paid = pieces.len();
        pieces.dedup();
        prop_assert_eq!(pieces.len(), paid, "each piece is paid for once");
        let settled: Vec<Replica> = (0..replicas.len()).filter(keeps).map(|at| Replica {
            earns: earns(&at),
            ..replicas[at].clone()
        }).collect();
        prop_assert_eq!(super::plan(&settled, scheme, NOW), Plan::default());
    }

    #[test]
    fn what_health_asks_for_makes_a_coded_chunk_safe(
        replicas in prop::collection::vec((any_replica(), 0_u8..6), 0..14),
    ) {
        let scheme = Scheme::coded(3, 6).unwrap();
        let mut replicas: Vec<Replica> = replicas.into_iter().map(|(any, piece)| Replica { piece, ..any }).collect();
        let missing = health(&replicas, scheme).missing;
        let mut different = missing.clone();
        different.sort_unstable();
        different.dedup();
        prop_assert_eq!(different.len(), missing.len());
        replicas.extend(missing.into_iter().map(|piece| Replica { piece, ..replica(100 + piece) }));
        let after = health(&replicas, scheme);
        prop_assert!(after.missing.is_empty());
        prop_assert!(after.healthy >= scheme.safe() as usize);
    }
}
