//! What the nemesis does and when, from a seed alone: the same seed strikes in the same places at the
//! same moments, however the machine and the network take it.
//!
//! The rule that keeps "nothing is lost" a fair demand: between two heals only two nodes are struck, the
//! victims of the round. A chunk has its replicas on three nodes, so one is always out of reach.
//! Rejected: choosing replicas of each chunk to strike, which repair would make untrue a second later.

use std::ops::Range;
use std::time::Duration;

use local_cluster::Member;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, RngExt};

/// Nodes that are struck between two heals: fewer than a chunk has replicas.
pub(super) const VICTIMS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL, and started again.
    Kill,
    /// SIGSTOP, SIGCONT.
    Pause,
    /// The connections to all coordinators are reset, and so is each new one.
    Cut,
    /// The same with one of several coordinators; the others are still reached.
    CutFromOne,
    /// Packets vanish without a word.
    Silence,
    /// Packets take long.
    Delay,
    /// The node is started with room for a few blobs more than it holds.
    Full,
    /// Bits of blobs are flipped on the disk.
    FlippedBits,
    /// Blobs are overwritten with zeros, their headers too.
    WipedBlobs,
    /// A crash of the database, and its recovery.
    Postgres,
    /// SIGKILL, and started again.
    Coordinator,
    /// SIGSTOP, SIGCONT of one of several coordinators, now and then for longer than its leases last: it goes on,
    /// and does not know that others took its work over.
    CoordinatorPaused,
}

/// What can befall a node.
const OF_NODES: [Kind; 8] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Cut,
    Kind::Silence,
    Kind::Delay,
    Kind::Full,
    Kind::FlippedBits,
    Kind::WipedBlobs,
];
const OF_THE_MIDDLE: [Kind; 2] = [Kind::Postgres, Kind::Coordinator];
/// How long a node is away, or one of several coordinators.
const NODE_AWAY_MS: Range<u64> = 500..6000;
/// The same of what nobody is served without.
const MIDDLE_AWAY_MS: Range<u64> = 200..1500;
/// After a pause of this length all that a coordinator was at is at others, and it does not know.
const LEASES_END_MS: Range<u64> = 62_000..70_000;

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "node killed",
            Self::Pause => "node paused",
            Self::Cut => "link cut",
            Self::CutFromOne => "cut from one coordinator",
            Self::Silence => "link silent",
            Self::Delay => "link slow",
            Self::Full => "node full",
            Self::FlippedBits => "bits flipped",
            Self::WipedBlobs => "blobs wiped",
            Self::Postgres => "postgres crashed",
            Self::Coordinator => "coordinator killed",
            Self::CoordinatorPaused => "coordinator paused",
        }
    }

    pub(super) fn damages_blobs(self) -> bool {
        matches!(self, Self::FlippedBits | Self::WipedBlobs)
    }
}

/// One fault and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strike {
    /// Since the round began.
    pub at: Duration,
    pub lasts: Duration,
    pub kind: Kind,
    pub member: Member,
}

/// Who can be struck, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets {
    pub nodes: usize,
    pub coordinators: usize,
    /// Whether blobs are spoilt too, which only repair makes good.
    pub rot: bool,
}

impl Targets {
    fn kinds_for_nodes(&self) -> Vec<Kind> {
        let mut kinds = OF_NODES.to_vec();
        kinds.retain(|kind| self.rot || !kind.damages_blobs());
        if self.coordinators > 1 {
            kinds.push(Kind::CutFromOne);
        }
        kinds
    }

    fn kinds_for_the_middle(&self) -> Vec<Kind> {
        let mut kinds = OF_THE_MIDDLE.to_vec();
        if self.coordinators > 1 {
            kinds.push(Kind::CoordinatorPaused);
        }
        kinds
    }
}

/// What happens between two heals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    /// In the order of their moments.
    pub strikes: Vec<Strike>,
}

impl Round {
    /// Strikes begin within `length`; the faults of one node follow each other, those of both victims
    /// and of what stands in the middle come as they come.
    pub(super) fn new(targets: &Targets, length: Duration, rng: &mut impl Rng) -> Self {
        let kinds = targets.kinds_for_nodes();
        let mut strikes = Vec::new();
        for node in (1..=targets.nodes).sample(rng, VICTIMS) {
            strikes.extend(lane(Member::Node(node), &kinds, length, rng));
        }
        // One at most: a coordinator without its database does not start.
        if rng.random_bool(0.7) {
            strikes.push(of_the_middle(targets, length, rng));
        }
        strikes.sort_by_key(|strike| strike.at);
        Self { strikes }
    }
}

/// Faults of one node, one after the other, with pauses between them.
fn lane(node: Member, kinds: &[Kind], length: Duration, rng: &mut impl Rng) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut at = millis(0..2000, rng);
    while at < length {
        let kind = kinds.choose(rng).copied().unwrap_or(Kind::Kill);
        let lasts = match kind.damages_blobs() {
            true => Duration::ZERO,
            false => millis(NODE_AWAY_MS, rng),
        };
        strikes.push(Strike {
            at,
            lasts,
            kind,
            member: node,
        });
        at += lasts + millis(300..2500, rng);
    }
    strikes
}

fn of_the_middle(targets: &Targets, length: Duration, rng: &mut impl Rng) -> Strike {
    let kinds = targets.kinds_for_the_middle();
    let kind = kinds.choose(rng).copied().unwrap_or(Kind::Postgres);
    let member = match kind {
        Kind::Postgres => Member::Postgres,
        _ => Member::Coordinator(rng.random_range(1..=targets.coordinators)),
    };
    let away = match kind {
        Kind::CoordinatorPaused if rng.random_bool(0.2) => LEASES_END_MS,
        _ if targets.coordinators > 1 && kind != Kind::Postgres => NODE_AWAY_MS,
        _ => MIDDLE_AWAY_MS,
    };
    Strike {
        at: length.mul_f64(rng.random_range(0.0..1.0)),
        lasts: millis(away, rng),
        kind,
        member,
    }
}

fn millis(range: Range<u64>, rng: &mut impl Rng) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn round(seed: u64, targets: Targets) -> Round {
        Round::new(&targets, LENGTH, &mut StdRng::seed_from_u64(seed))
    }

    fn targets(nodes: usize, coordinators: usize) -> Targets {
        Targets {
            nodes,
            coordinators,
            rot: true,
        }
    }

    proptest! {
        #[test]
        fn between_two_heals_fewer_nodes_are_struck_than_a_chunk_has_replicas(seed: u64, nodes in 3..9_usize) {
            let mut struck = Vec::new();
            for strike in round(seed, targets(nodes, 2)).strikes {
                if let Member::Node(node) = strike.member && !struck.contains(&node) {
                    struck.push(node);
                }
            }
            prop_assert!(struck.len() <= VICTIMS);
            prop_assert!(struck.iter().all(|node| (1..=nodes).contains(node)));
        }

        #[test]
        fn what_befalls_one_member_never_overlaps(seed: u64, coordinators in 1..4_usize) {
            let round = round(seed, targets(5, coordinators));
            for one in &round.strikes {
                let followers = round.strikes.iter().filter(|other| {
                    other.member == one.member && other.at > one.at
                });
                for next in followers {
                    prop_assert!(one.at + one.lasts < next.at);
                }
            }
            prop_assert!(round.strikes.is_sorted_by_key(|s| s.at));
            prop_assert!(round.strikes.iter().all(|s| s.at < LENGTH));
        }

        #[test]
        fn only_what_is_there_is_struck_and_one_thing_in_the_middle(seed: u64, coordinators in 1..4_usize) {
            let mut middle = 0;
            for strike in round(seed, targets(5, coordinators)).strikes {
                match strike.member {
                    Member::Node(_) => continue,
                    Member::Coordinator(number) => prop_assert!((1..=coordinators).contains(&number)),
                    Member::Postgres => prop_assert_eq!(strike.kind, Kind::Postgres),
                }
                middle += 1;
            }
            prop_assert!(middle <= 1);
        }

        #[test]
        fn a_seed_tells_everything(seed: u64) {
            prop_assert_eq!(round(seed, targets(5, 2)), round(seed, targets(5, 2)));
        }
    }

    fn met(targets: Targets) -> BTreeSet<Kind> {
        let strikes = (0..40).flat_map(|seed| round(seed, targets).strikes);
        strikes.map(|strike| strike.kind).collect()
    }

    #[test]
    fn without_rot_no_blob_is_spoilt() {
        let targets = Targets {
            rot: false,
            ..targets(5, 1)
        };
        assert!(!met(targets).iter().any(|kind| kind.damages_blobs()));
    }

    #[test]
    fn every_kind_of_fault_is_met_within_a_few_seeds() {
        let mut all: BTreeSet<Kind> = OF_NODES.into_iter().chain(OF_THE_MIDDLE).collect();
        assert_eq!(met(targets(5, 1)), all);
        all.extend([Kind::CutFromOne, Kind::CoordinatorPaused]);
        assert_eq!(met(targets(5, 2)), all);
    }
}
