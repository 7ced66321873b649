//! Which nodes get the replicas of a chunk.
//!
//! Hard rules sort candidates out; among the rest the smallest `Score` wins, and the order of
//! the score's fields *is* the policy. Pure: the fleet as it is goes in, and a source of chance.

use std::collections::HashSet;
use std::hash::Hash;

use proto::NodeId;
use rand::{Rng, RngExt};

use model::node_state::NetworkPrefix;
use model::scheme::Scheme;

/// Share of placements that nodes on probation may get while enough vetted ones are there.
const PROBATION_SHARE: f64 = 0.05;

/// A node that is online and takes new blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub node_id: NodeId,
    pub vetted: bool,
    pub free_bytes: u64,
    pub capacity_bytes: u64,
    /// Bytes on their way to the node.
    pub in_flight_bytes: u64,
    /// It left an exchange unanswered a moment ago: others go first.
    pub lagging: bool,
    pub domains: FailureDomains,
}

/// What can take several nodes away at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureDomains {
    /// Nodes without an operator of their own each count as one; so this is never shared by chance.
    pub operator: Option<uuid::Uuid>,
    pub prefix: Option<NetworkPrefix>,
    pub region: Option<String>,
}

impl FailureDomains {
    /// How many kinds of domains both stand in.
    pub fn shared_with(&self, other: &Self) -> usize {
        fn same<T: Eq>(one: Option<&T>, other: Option<&T>) -> usize {
            usize::from(one.is_some() && one == other)
        }
        same(self.operator.as_ref(), other.operator.as_ref())
            + same(self.prefix.as_ref(), other.prefix.as_ref())
            + same(self.region.as_ref(), other.region.as_ref())
    }
}

/// How much the rules on failure domains and on probation bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// An upload rather fails: its owner is told and can try again.
    Hard,
    /// A repair rather breaks them, as little as can be: a copy in a bad place is better than none.
    Preferred,
}

/// What a chunk needs.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Replicas to place now.
    pub count: usize,
    /// How the chunk is kept, which decides when probation limits a node.
    pub scheme: Scheme,
    pub blob_bytes: u64,
    pub distinct_domains: bool,
    pub rules: Rules,
    /// Nodes that have the chunk already, or failed to take it; with the domains of those that have it.
    pub excluded: &'a HashSet<NodeId>,
    pub occupied: &'a [FailureDomains],
}

/// Why a chunk cannot be placed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Waiting may help: nodes come back.
    #[error("{needed} more storage nodes are needed and {eligible} are eligible")]
    TooFewNodes { needed: usize, eligible: usize },
    /// Waiting does not help: the disks are full.
    #[error("{needed} more storage nodes with room are needed and {eligible} have it")]
    TooLittleSpace { needed: usize, eligible: usize },
}

/// Smaller is better. The order of the fields is the policy: prompt before lagging, idle before
/// busy, empty before full, then chance, so that equals share the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    lagging: bool,
    /// In steps of one blob, so that small differences do not herd placements.
    blobs_in_flight: u64,
    /// In sixteenths.
    fill: u64,
    chance: u32,
    /// Last, for a deterministic order.
    node_id: NodeId,
}

/// Nodes of a large fleet that are looked at for one placement. The best of a hundred drawn at random are as good as
/// the best of all for sharing load, and a fleet of ten thousand need not be copied and sorted for each chunk.
const DRAWN: usize = 96;

/// Picks `request.count` different nodes of `fleet`, of which `candidate` tells those that can be given blobs. Where
/// those that are drawn cannot keep all rules, all nodes are looked at.
pub fn place_among(
    fleet: usize,
    candidate: impl Fn(usize) -> Option<Candidate>,
    request: &Request<'_>,
    rng: &mut impl Rng,
) -> Result<Vec<NodeId>, PlacementError> {
    if fleet > 2 * DRAWN {
        let drawn = rand::seq::index::sample(rng, fleet, DRAWN);
        let drawn: Vec<Candidate> = drawn.into_iter().filter_map(&candidate).collect();
        let vetted = drawn.iter().filter(|candidate| candidate.vetted).count();
        let strict = Request {
            rules: Rules::Hard,
            ..*request
        };
        if vetted >= many_vetted(request)
            && let Ok(chosen) = place(&drawn, &strict, rng)
        {
            return Ok(chosen);
        }
    }
    let all: Vec<Candidate> = (0..fleet).filter_map(candidate).collect();
    place(&all, request, rng)
}

/// So many vetted nodes are enough for nodes on probation to be limited.
const fn many_vetted(request: &Request<'_>) -> usize {
    2 * request.scheme.pieces() as usize
}

/// Picks `request.count` different nodes, best first.
pub fn place(
    candidates: &[Candidate],
    request: &Request<'_>,
    rng: &mut impl Rng,
) -> Result<Vec<NodeId>, PlacementError> {
    let eligible: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| !request.excluded.contains(&candidate.node_id))
        .collect();
    if eligible.len() < request.count {
        return Err(PlacementError::TooFewNodes {
            needed: request.count,
            eligible: eligible.len(),
        });
    }
    let mut roomy: Vec<(Score, &Candidate)> = eligible
        .into_iter()
        .filter(|candidate| has_room(candidate, request.blob_bytes))
        .map(|candidate| {
            (
                score(candidate, request.blob_bytes, rng.random()),
                candidate,
            )
        })
        .collect();
    if roomy.len() < request.count {
        return Err(PlacementError::TooLittleSpace {
            needed: request.count,
            eligible: roomy.len(),
        });
    }
    roomy.sort_unstable_by_key(|(score, _)| *score);

    let vetted = roomy
        .iter()
        .filter(|(_, candidate)| candidate.vetted)
        .count();
    let mut unvetted_left = if vetted < many_vetted(request) {
        usize::MAX // a young network has nobody else
    } else {
        usize::from(rng.random_bool(PROBATION_SHARE))
    };
    let mut occupied = Occupied::new(request);
    let mut chosen = Vec::with_capacity(request.count);
    for (_, candidate) in &roomy {
        if chosen.len() == request.count {
            break;
        }
        if !candidate.vetted && unvetted_left == 0 {
            continue;
        }
        if request.distinct_domains && !occupied.is_free(&candidate.domains) {
            continue;
        }
        if !candidate.vetted {
            unvetted_left = unvetted_left.saturating_sub(1);
        }
        occupied.take(&candidate.domains);
        chosen.push(candidate.node_id);
    }
    if request.rules == Rules::Preferred {
        fill_up(&mut chosen, &roomy, request);
    }
    if chosen.len() < request.count {
        return Err(PlacementError::TooFewNodes {
            needed: request.count,
            eligible: chosen.len(),
        });
    }
    Ok(chosen)
}

/// Takes nodes that the rules forbid, those first that share the fewest domains.
fn fill_up(chosen: &mut Vec<NodeId>, roomy: &[(Score, &Candidate)], request: &Request<'_>) {
    while chosen.len() < request.count {
        let beside = |node: &NodeId| roomy.iter().find(|(_, other)| other.node_id == *node);
        let shared = |candidate: &Candidate| -> usize {
            let chosen = chosen.iter().filter_map(beside).map(|(_, c)| &c.domains);
            let others = request.occupied.iter().chain(chosen);
            others
                .map(|other| candidate.domains.shared_with(other))
                .sum()
        };
        let next = roomy
            .iter()
            .filter(|(_, candidate)| !chosen.contains(&candidate.node_id))
            .min_by_key(|(score, candidate)| (shared(candidate), !candidate.vetted, *score));
        match next {
            Some((_, candidate)) => chosen.push(candidate.node_id),
            None => return,
        }
    }
}

fn has_room(candidate: &Candidate, blob_bytes: u64) -> bool {
    candidate
        .free_bytes
        .saturating_sub(candidate.in_flight_bytes)
        >= blob_bytes
}

fn score(candidate: &Candidate, blob_bytes: u64, chance: u32) -> Score {
    let used = candidate
        .capacity_bytes
        .saturating_sub(candidate.free_bytes);
    Score {
        lagging: candidate.lagging,
        blobs_in_flight: candidate.in_flight_bytes / blob_bytes.max(1),
        fill: used.saturating_mul(16) / candidate.capacity_bytes.max(1),
        chance,
        node_id: candidate.node_id,
    }
}

/// The failure domains that hold a replica already.
struct Occupied<'a> {
    operators: HashSet<uuid::Uuid>,
    prefixes: HashSet<NetworkPrefix>,
    regions: HashSet<&'a str>,
}

impl<'a> Occupied<'a> {
    fn new(request: &Request<'a>) -> Self {
        let mut occupied = Self {
            operators: HashSet::new(),
            prefixes: HashSet::new(),
            regions: HashSet::new(),
        };
        for domains in request.occupied {
            occupied.take(domains);
        }
        occupied
    }

    fn is_free(&self, domains: &FailureDomains) -> bool {
        fn free<T: Hash + Eq>(taken: &HashSet<T>, domain: Option<&T>) -> bool {
            domain.is_none_or(|domain| !taken.contains(domain))
        }
        free(&self.operators, domains.operator.as_ref())
            && free(&self.prefixes, domains.prefix.as_ref())
            && free(&self.regions, domains.region.as_deref().as_ref())
    }

    fn take<'b: 'a>(&mut self, domains: &'b FailureDomains) {
        self.operators.extend(domains.operator);
        self.prefixes.extend(domains.prefix);
        self.regions.extend(domains.region.as_deref());
    }
}

#[cfg(test)]
mod tests {
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
}
