//! Where replicas go, and where none goes.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::*;

const BLOB: u64 = 1000;

fn node(n: u128) -> Candidate {
    Candidate {
        node_id: NodeId::from_uuid(Uuid::from_u128(n)),
        vetted: true,
        free_bytes: 100 * BLOB,
        capacity_bytes: 100 * BLOB,
        in_flight_bytes: 0,
        lagging: false,
        domains: FailureDomains::default(),
    }
}

fn place_three(
    candidates: &[Candidate],
    distinct_domains: bool,
    seed: u64,
) -> Result<Vec<NodeId>, PlacementError> {
    let request = Request {
        count: 3,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB,
        distinct_domains,
        rules: Rules::Hard,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &[],
    };
    place(candidates, &request, &mut StdRng::seed_from_u64(seed))
}

#[test]
fn an_idle_node_goes_before_a_busy_one_and_an_empty_one_before_a_full_one() {
    let mut nodes: Vec<_> = (0..5).map(node).collect();
    nodes[0].in_flight_bytes = 10 * BLOB;
    nodes[1].free_bytes = 10 * BLOB;
    for seed in 0..20 {
        let chosen = place_three(&nodes, false, seed).unwrap();
        assert!(!chosen.contains(&nodes[0].node_id) && !chosen.contains(&nodes[1].node_id));
    }
}

#[test]
fn a_lagging_node_is_taken_only_when_no_other_is_left() {
    let mut nodes: Vec<_> = (0..4).map(node).collect();
    nodes[0].lagging = true;
    nodes[1].in_flight_bytes = 50 * BLOB;
    for seed in 0..20 {
        let chosen = place_three(&nodes, false, seed).unwrap();
        assert!(!chosen.contains(&nodes[0].node_id));
    }
    assert!(
        place_three(&nodes[..3], false, 1)
            .unwrap()
            .contains(&nodes[0].node_id)
    );
}

#[test]
fn of_a_large_fleet_few_are_looked_at_and_all_get_their_share() {
    let fleet: Vec<_> = (0..10_000).map(node).collect();
    let looks = std::cell::Cell::new(0);
    let look = |at: usize| {
        looks.set(looks.get() + 1);
        Some(fleet[at].clone())
    };
    let request = Request {
        count: 3,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB,
        distinct_domains: false,
        rules: Rules::Hard,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &[],
    };
    let mut rng = StdRng::seed_from_u64(1);
    let mut hit = HashSet::new();
    for _ in 0..1000 {
        hit.extend(place_among(fleet.len(), look, &request, &mut rng).unwrap());
    }
    assert_eq!(looks.get(), 1000 * DRAWN);
    assert!(hit.len() > 2400, "{} nodes of 3000 placements", hit.len());
}

#[test]
fn the_few_of_a_large_fleet_that_have_room_are_found() {
    let mut fleet: Vec<_> = (0..1000).map(node).collect();
    for full in &mut fleet[3..] {
        full.free_bytes = 0;
    }
    let request = Request {
        count: 3,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB,
        distinct_domains: false,
        rules: Rules::Hard,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &[],
    };
    let mut rng = StdRng::seed_from_u64(1);
    let look = |at: usize| Some(fleet[at].clone());
    let mut chosen = place_among(fleet.len(), look, &request, &mut rng).unwrap();
    chosen.sort_unstable();
    let roomy: Vec<_> = fleet[..3].iter().map(|node| node.node_id).collect();
    assert_eq!(chosen, roomy);
}

#[test]
fn equal_nodes_share_the_load() {
    let nodes: Vec<_> = (0..6).map(node).collect();
    let mut hits = std::collections::HashMap::new();
    for seed in 0..1000 {
        for id in place_three(&nodes, false, seed).unwrap() {
            *hits.entry(id).or_insert(0) += 1;
        }
    }
    assert!(
        hits.values().all(|hits| (400..600).contains(hits)),
        "{hits:?}"
    );
}

#[test]
fn too_few_nodes_and_too_little_space_are_told_apart() {
    let mut nodes: Vec<_> = (0..4).map(node).collect();
    let few = place_three(&nodes[..2], false, 1);
    assert_eq!(
        few,
        Err(PlacementError::TooFewNodes {
            needed: 3,
            eligible: 2
        })
    );
    nodes[0].free_bytes = BLOB - 1;
    nodes[1].in_flight_bytes = 100 * BLOB;
    let full = place_three(&nodes, false, 1);
    assert_eq!(
        full,
        Err(PlacementError::TooLittleSpace {
            needed: 3,
            eligible: 2
        })
    );
}

#[test]
fn a_failure_domain_holds_one_replica() {
    let mut nodes: Vec<_> = (0..5).map(node).collect();
    for candidate in &mut nodes[..3] {
        candidate.domains.operator = Some(Uuid::from_u128(99));
    }
    for seed in 0..20 {
        let chosen = place_three(&nodes, true, seed).unwrap();
        let shared = nodes[..3]
            .iter()
            .filter(|node| chosen.contains(&node.node_id));
        assert_eq!(shared.count(), 1);
    }
    nodes[3].domains.operator = Some(Uuid::from_u128(99));
    assert!(place_three(&nodes, true, 1).is_err());
    assert!(place_three(&nodes, false, 1).is_ok());
}

#[test]
fn a_repair_breaks_as_few_rules_as_can_be() {
    let (near, far) = (Some("near".to_owned()), Some("far".to_owned()));
    let mut nodes: Vec<_> = (0..4).map(node).collect();
    for candidate in &mut nodes[..3] {
        candidate.domains.region.clone_from(&near);
    }
    nodes[0].domains.operator = Some(Uuid::from_u128(99));
    nodes[3].domains.region.clone_from(&far);
    let occupied = [FailureDomains {
        operator: Some(Uuid::from_u128(99)),
        region: near,
        prefix: None,
    }];
    let excluded = HashSet::new();
    for seed in 0..20 {
        let request = |count, rules| Request {
            count,
            scheme: Scheme::copies(3),
            blob_bytes: BLOB,
            distinct_domains: true,
            rules,
            vetted_beside: 0,
            newcomers_beside: 0,
            excluded: &excluded,
            occupied: &occupied,
        };
        let place = |request| place(&nodes, &request, &mut StdRng::seed_from_u64(seed));
        assert!(place(request(2, Rules::Hard)).is_err());
        assert_eq!(
            place(request(1, Rules::Preferred)).unwrap(),
            [nodes[3].node_id]
        );
        let three = place(request(3, Rules::Preferred)).unwrap();
        assert!(!three.contains(&nodes[0].node_id), "it shares two domains");
        assert_eq!(place(request(4, Rules::Preferred)).unwrap().len(), 4);
        assert!(place(request(5, Rules::Preferred)).is_err());
    }
}

#[test]
fn probation_limits_a_node_only_where_enough_vetted_ones_are() {
    let mut young: Vec<_> = (0..5).map(node).collect();
    young.iter_mut().for_each(|node| node.vetted = false);
    assert!(place_three(&young, false, 1).is_ok());

    let mut grown: Vec<_> = (0..10).map(node).collect();
    grown[6..].iter_mut().for_each(|node| node.vetted = false);
    let on_probation: Vec<_> = grown[6..].iter().map(|node| node.node_id).collect();
    let mut with_one = 0;
    for seed in 0..2000 {
        let chosen = place_three(&grown, false, seed).unwrap();
        let unvetted = chosen.iter().filter(|id| on_probation.contains(id)).count();
        assert!(unvetted <= 1);
        with_one += unvetted;
    }
    assert!((20..=140).contains(&with_one), "{with_one} of 2000 chunks");
}

/// Six vetted nodes and six newcomers; of these only the first have much in flight.
fn half_newcomers() -> Vec<Candidate> {
    let mut nodes: Vec<_> = (0..12).map(node).collect();
    nodes[6..].iter_mut().for_each(|node| node.vetted = false);
    nodes[..6]
        .iter_mut()
        .for_each(|node| node.in_flight_bytes = 90 * BLOB);
    nodes
}

fn vetted_among(nodes: &[Candidate], chosen: &[NodeId]) -> usize {
    let vetted = nodes.iter().filter(|node| node.vetted);
    vetted.filter(|node| chosen.contains(&node.node_id)).count()
}

#[test]
fn a_chunk_that_is_mended_piece_by_piece_never_stands_on_newcomers_alone() {
    let nodes = half_newcomers();
    let excluded = HashSet::new();
    let (mut alone, mut beside) = (0, 0);
    for seed in 0..1000 {
        for rules in [Rules::Hard, Rules::Preferred] {
            let request = |vetted_beside: usize| Request {
                count: 1,
                scheme: Scheme::copies(3),
                blob_bytes: BLOB,
                distinct_domains: false,
                rules,
                vetted_beside,
                newcomers_beside: 0,
                excluded: &excluded,
                occupied: &[],
            };
            let place = |vetted_beside: usize| {
                let mut rng = StdRng::seed_from_u64(seed);
                place(&nodes, &request(vetted_beside), &mut rng).unwrap()
            };
            alone += 1 - vetted_among(&nodes, &place(0));
            beside += 1 - vetted_among(&nodes, &place(1));
        }
    }
    assert_eq!(alone, 0);
    assert!(beside > 0, "newcomers get their share beside vetted ones");
}

#[test]
fn a_repair_that_breaks_rules_still_puts_one_piece_on_a_vetted_node() {
    // All vetted nodes stand where a replica is already, so that newcomers share fewer domains.
    let mut nodes = half_newcomers();
    for vetted in &mut nodes[..6] {
        vetted.domains.region = Some("near".to_owned());
    }
    let occupied = [FailureDomains {
        region: Some("near".to_owned()),
        ..FailureDomains::default()
    }];
    let request = Request {
        count: 2,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB,
        distinct_domains: true,
        rules: Rules::Preferred,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &occupied,
    };
    for seed in 0..100 {
        let chosen = place(&nodes, &request, &mut StdRng::seed_from_u64(seed)).unwrap();
        assert!(vetted_among(&nodes, &chosen) > 0, "{seed}");
    }
}

#[test]
fn a_large_fleet_of_newcomers_is_no_young_network_while_enough_vetted_nodes_have_room() {
    let mut fleet: Vec<_> = (0..1000).map(node).collect();
    for (n, candidate) in fleet.iter_mut().enumerate() {
        candidate.vetted = n < 200;
        // Most of the vetted ones are full.
        if (12..200).contains(&n) {
            candidate.free_bytes = 0;
        }
    }
    let request = Request {
        count: 3,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB,
        distinct_domains: false,
        rules: Rules::Hard,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &[],
    };
    let mut rng = StdRng::seed_from_u64(1);
    let look = |at: usize| Some(fleet[at].clone());
    for _ in 0..100 {
        let chosen = place_among(fleet.len(), look, &request, &mut rng).unwrap();
        assert!(vetted_among(&fleet, &chosen) >= 2);
    }
}

proptest! {
    #[test]
    fn placed_nodes_are_different_and_keep_the_rules(
        specs in prop::collection::vec((0u64..4, 0u64..3, 0u8..4, any::<bool>()), 0..12),
        seed: u64,
    ) {
        let nodes: Vec<_> = specs.iter().enumerate().map(|(n, (free, flight, region, vetted))| {
            let mut candidate = node(n as u128);
            candidate.free_bytes = free * BLOB;
            candidate.in_flight_bytes = flight * BLOB;
            candidate.domains.region = (*region > 0).then(|| format!("r{region}"));
            candidate.vetted = *vetted;
            candidate
        }).collect();
        if let Ok(chosen) = place_three(&nodes, true, seed) {
            let unique: HashSet<_> = chosen.iter().collect();
            prop_assert_eq!(unique.len(), 3);
            let chosen: Vec<_> = nodes.iter().filter(|n| chosen.contains(&n.node_id)).collect();
            prop_assert!(chosen.iter().all(|n| has_room(n, BLOB)));
            let regions: Vec<_> = chosen.iter().filter_map(|n| n.domains.region.clone()).collect();
            let distinct: HashSet<_> = regions.iter().collect();
            prop_assert_eq!(distinct.len(), regions.len());
        }
    }
}

/// Whether a choice of nodes keeps all the rules for a coded chunk, said once more and without the code under test.
fn keeps_rules(chosen: &[&Candidate], all: &[Candidate], scheme: Scheme) -> bool {
    let most = ((scheme.pieces() - scheme.needed()) / 2).max(1) as usize;
    let crowded = |kind: fn(&Candidate) -> Option<String>| {
        chosen.iter().any(|one| {
            let same = chosen.iter().filter(|other| kind(other) == kind(one));
            kind(one).is_some() && same.count() > most
        })
    };
    let vetted = all
        .iter()
        .filter(|node| node.vetted && has_room(node, BLOB));
    let without_others = (scheme.pieces() as usize).saturating_sub(vetted.count());
    let newcomers = chosen.iter().filter(|node| !node.vetted).count();
    newcomers <= most.max(without_others)
        && !crowded(|node| node.domains.region.clone())
        && !crowded(|node| node.domains.operator.map(|operator| operator.to_string()))
        && chosen.iter().all(|node| has_room(node, BLOB))
}

fn any_fleet(most: usize) -> impl Strategy<Value = Vec<Candidate>> {
    let spec = (0_u8..8, 0_u8..6, 0_u8..6, 0_u8..8);
    prop::collection::vec(spec, 0..=most).prop_map(|specs| {
        let nodes = specs.into_iter().enumerate();
        let nodes = nodes.map(|(n, (room, operator, region, vetted))| Candidate {
            free_bytes: if room == 0 { 0 } else { 10 * BLOB },
            vetted: vetted > 0,
            domains: FailureDomains {
                operator: (operator > 0).then(|| Uuid::from_u128(operator.into())),
                prefix: None,
                region: (region > 0).then(|| format!("r{region}")),
            },
            ..node(n as u128)
        });
        nodes.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_keep_every_hard_rule_and_a_place_is_found_where_there_is_one(
        nodes in any_fleet(12), code in prop::sample::select(vec![(3, 6), (8, 12), (2, 4), (4, 9)]), seed: u64,
    ) {
        let scheme = Scheme::coded(code.0, code.1).unwrap();
        let request = Request {
            count: code.1 as usize,
            scheme,
            blob_bytes: BLOB,
            distinct_domains: true,
            rules: Rules::Hard,
            vetted_beside: 0,
            newcomers_beside: 0,
            excluded: &HashSet::new(),
            occupied: &[],
        };
        let placed = place(&nodes, &request, &mut StdRng::seed_from_u64(seed));
        let choice = |set: u32| -> Vec<&Candidate> {
            let members = nodes.iter().enumerate().filter(|(n, _)| set & (1 << n) != 0);
            members.map(|(_, node)| node).collect()
        };
        match placed {
            Ok(placed) => {
                let chosen: Vec<_> = nodes.iter().filter(|node| placed.contains(&node.node_id)).collect();
                prop_assert_eq!(chosen.len(), code.1 as usize);
                prop_assert!(keeps_rules(&chosen, &nodes, scheme));
            }
            Err(_) => {
                let sets = (0_u32..1 << nodes.len()).filter(|set| set.count_ones() == code.1);
                let found = sets.map(choice).find(|chosen| keeps_rules(chosen, &nodes, scheme));
                prop_assert_eq!(found, None);
            }
        }
    }
}

#[test]
fn failure_domains_are_those_of_which_there_are_fewest() {
    let mut nodes: Vec<Candidate> = (0..12).map(node).collect();
    assert_eq!(failure_domains(&nodes, true), 12, "each its own");
    for (n, node) in nodes.iter_mut().enumerate() {
        node.domains.operator = Some(Uuid::from_u128(n as u128 / 2));
    }
    nodes[0].domains.region = Some("eu".to_owned());
    nodes[1].domains.region = Some("eu".to_owned());
    assert_eq!(failure_domains(&nodes, true), 6);
    assert_eq!(failure_domains(&nodes, false), 12);
    assert_eq!(failure_domains(&[], true), 0);
}

#[test]
fn a_repair_of_pieces_counts_the_newcomers_that_hold_some() {
    let nodes = half_newcomers();
    let scheme = Scheme::coded(3, 6).unwrap();
    let fleet: Vec<_> = nodes.iter().filter(|node| !node.vetted).cloned().collect();
    let place = |newcomers_beside, vetted_beside| {
        let request = Request {
            count: 1,
            scheme,
            blob_bytes: BLOB,
            distinct_domains: false,
            rules: Rules::Hard,
            vetted_beside,
            newcomers_beside,
            excluded: &HashSet::new(),
            occupied: &[],
        };
        place(&fleet, &request, &mut StdRng::seed_from_u64(1))
    };
    assert!(place(0, 5).is_ok(), "one may stand on a newcomer");
    let second = place(1, 5);
    assert!(second.is_err(), "{second:?}");
}
