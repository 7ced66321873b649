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
    /// A vetted node has a piece of the chunk already, or is getting one.
    pub vetted_beside: bool,
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
        // Those that `place` will count, or it would take a fleet of newcomers for a young network.
        let usable = |candidate: &&Candidate| candidate.vetted && is_usable(candidate, request);
        let vetted = drawn.iter().filter(usable).count();
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

fn is_usable(candidate: &Candidate, request: &Request<'_>) -> bool {
    has_room(candidate, request.blob_bytes) && !request.excluded.contains(&candidate.node_id)
}

/// So many vetted nodes with room are enough for nodes on probation to be limited, and for a chunk to have a piece
/// on a vetted one in any case.
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
    let enough_vetted = vetted >= many_vetted(request);
    let needs_vetted = enough_vetted && !request.vetted_beside && request.count > 0;
    let mut unvetted_left = if !enough_vetted {
        usize::MAX // a young network has nobody else
    } else {
        let share = usize::from(rng.random_bool(PROBATION_SHARE));
        share.min(request.count - usize::from(needs_vetted))
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
        fill_up(&mut chosen, &roomy, request, needs_vetted);
    }
    if chosen.len() < request.count {
        return Err(PlacementError::TooFewNodes {
            needed: request.count,
            eligible: chosen.len(),
        });
    }
    Ok(chosen)
}

/// Takes nodes that the rules forbid, those first that share the fewest domains; but a vetted one first where the
/// chunk would else stand on newcomers alone.
fn fill_up(
    chosen: &mut Vec<NodeId>,
    roomy: &[(Score, &Candidate)],
    request: &Request<'_>,
    needs_vetted: bool,
) {
    while chosen.len() < request.count {
        let is_vetted = |node: &NodeId| {
            let mut others = roomy.iter();
            others.any(|(_, other)| other.node_id == *node && other.vetted)
        };
        let lacks_vetted = needs_vetted && !chosen.iter().any(is_vetted);
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
            .min_by_key(|(score, candidate)| {
                let newcomer = !candidate.vetted;
                let alone = lacks_vetted && newcomer;
                (alone, shared(candidate), newcomer, *score)
            });
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
mod tests;
