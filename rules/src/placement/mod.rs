//! Which nodes get the replicas of a chunk.
//!
//! Hard rules sort candidates out; among the rest the smallest `Score` wins, and the order of
//! the score's fields *is* the policy. Pure: the fleet as it is goes in, and a source of chance.
//!
//! Copies stand in different failure domains. Of the pieces of a coded chunk a few may share one, and as many may stand on
//! newcomers ([`Scheme::most_together`]): half of those that the chunk can lose. Where the best nodes cannot keep that, all
//! choices are gone through (`search`), so that an upload fails only where there is none.

mod search;

use std::collections::{HashMap, HashSet};
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
    /// Operator, prefix and region.
    pub const KINDS: usize = 3;

    /// Kind by kind, whether both stand in the same.
    pub fn shares(&self, other: &Self) -> [bool; Self::KINDS] {
        fn same<T: Eq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.is_some() && one == other
        }
        [
            same(self.operator.as_ref(), other.operator.as_ref()),
            same(self.prefix.as_ref(), other.prefix.as_ref()),
            same(self.region.as_ref(), other.region.as_ref()),
        ]
    }

    /// How many kinds of domains both stand in.
    pub fn shared_with(&self, other: &Self) -> usize {
        self.shares(other).into_iter().filter(|same| *same).count()
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
    /// Vetted nodes that have a piece of the chunk already, or are getting one, and newcomers that do.
    pub vetted_beside: usize,
    pub newcomers_beside: usize,
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
    let needs_vetted = enough_vetted && request.vetted_beside == 0 && request.count > 0;
    let newcomers = newcomers(request, vetted);
    // A share of the placements, unless a young network has nobody else.
    let drawn = match enough_vetted {
        true if rng.random_bool(PROBATION_SHARE) => newcomers,
        true => 0,
        false => newcomers,
    };
    let most = match needs_vetted {
        true => request.count - 1,
        false => request.count,
    };
    let mut chosen = greedy(&roomy, request, drawn.min(most));
    if chosen.len() < request.count && request.scheme.is_coded() {
        let found = search::find(&roomy, request, newcomers);
        chosen = found.unwrap_or(chosen);
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

/// How many newcomers may get a piece now. Copies: one, unless the network is young. Coded pieces: no more of a chunk than
/// half of what it can lose, unless there are too few vetted nodes for the others; then as few as that takes.
fn newcomers(request: &Request<'_>, vetted: usize) -> usize {
    let most = request.scheme.most_together() as usize;
    if !request.scheme.is_coded() {
        return match vetted >= many_vetted(request) {
            true => most,
            false => usize::MAX, // a young network has nobody else
        };
    }
    let pieces = request.scheme.pieces() as usize;
    let without_others = pieces.saturating_sub(vetted + request.vetted_beside);
    let allowed = most.max(without_others);
    allowed.saturating_sub(request.newcomers_beside)
}

/// The best nodes one after the other, as far as the rules allow each.
fn greedy(
    roomy: &[(Score, &Candidate)],
    request: &Request<'_>,
    mut newcomers: usize,
) -> Vec<NodeId> {
    let mut occupied = Occupied::new(request);
    let mut chosen = Vec::with_capacity(request.count);
    for (_, candidate) in roomy {
        if chosen.len() == request.count {
            break;
        }
        if !candidate.vetted && newcomers == 0 {
            continue;
        }
        if request.distinct_domains && !occupied.is_free(&candidate.domains) {
            continue;
        }
        if !candidate.vetted {
            newcomers = newcomers.saturating_sub(1);
        }
        occupied.take(&candidate.domains);
        chosen.push(candidate.node_id);
    }
    chosen
}

/// How many failure domains there are: of operators, prefixes and regions those of which there are fewest. A node that
/// says nothing of one of them stands in one of its own.
pub fn failure_domains(candidates: &[Candidate], distinct_domains: bool) -> usize {
    if !distinct_domains {
        return candidates.len();
    }
    fn different<T: Hash + Eq>(domains: impl Iterator<Item = Option<T>>) -> usize {
        let (mut unknown, mut known) = (0, HashSet::new());
        for domain in domains {
            match domain {
                Some(domain) => _ = known.insert(domain),
                None => unknown += 1,
            }
        }
        unknown + known.len()
    }
    let domains = || candidates.iter().map(|candidate| &candidate.domains);
    let operators = different(domains().map(|domains| domains.operator));
    let prefixes = different(domains().map(|domains| domains.prefix));
    let regions = different(domains().map(|domains| domains.region.as_deref()));
    operators.min(prefixes).min(regions)
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

/// How many pieces of the chunk each failure domain holds already.
#[derive(Clone)]
struct Occupied<'a> {
    /// That it may hold.
    most: u32,
    operators: HashMap<uuid::Uuid, u32>,
    prefixes: HashMap<NetworkPrefix, u32>,
    regions: HashMap<&'a str, u32>,
}

impl<'a> Occupied<'a> {
    fn new(request: &Request<'a>) -> Self {
        let mut occupied = Self {
            most: request.scheme.most_together(),
            operators: HashMap::new(),
            prefixes: HashMap::new(),
            regions: HashMap::new(),
        };
        for domains in request.occupied {
            occupied.take(domains);
        }
        occupied
    }

    fn is_free(&self, domains: &FailureDomains) -> bool {
        fn has<T: Hash + Eq>(taken: &HashMap<T, u32>, domain: Option<&T>) -> u32 {
            domain.map_or(0, |domain| taken.get(domain).copied().unwrap_or(0))
        }
        has(&self.operators, domains.operator.as_ref()) < self.most
            && has(&self.prefixes, domains.prefix.as_ref()) < self.most
            && has(&self.regions, domains.region.as_deref().as_ref()) < self.most
    }

    fn take<'b: 'a>(&mut self, domains: &'b FailureDomains) {
        fn add<T: Hash + Eq>(taken: &mut HashMap<T, u32>, domain: Option<T>) {
            if let Some(domain) = domain {
                *taken.entry(domain).or_default() += 1;
            }
        }
        add(&mut self.operators, domains.operator);
        add(&mut self.prefixes, domains.prefix);
        add(&mut self.regions, domains.region.as_deref());
    }
}

#[cfg(test)]
mod tests;
