//! What a chunk needs: which of its replicas count, how many are missing, which can go, and who earns.
//!
//! Two numbers keep each other in check. A replica *counts* while it is not demoted, its node is not out,
//! and has not been offline for longer than the grace; it is *readable* when its node is there as well. A
//! chunk of which no more replicas are readable than it needs has no grace, so that one copy is made at once; and
//! nothing is taken away that the readable replicas do not make up for. Pure; `chunk_health` in the
//! database finds the chunks that this is asked about.
//!
//! Rejected: states of replicas that workers move along. What counts follows from nodes and replicas as
//! they are, so a node that returns needs no more than a look.

use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, NodeId};

use crate::audit::LOSS_REMEMBERED_FOR;
use crate::placement::FailureDomains;
use model::node_state::NodeState;
use model::scheme::Scheme;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const LONGEST_PAUSE_OF_LAST: Duration = Duration::from_secs(15);

/// A node as all coordinators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Online,
    /// Not heard of, for less than the grace.
    Offline,
    /// For longer.
    Away,
}

/// A replica, and what is known of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    pub node_state: NodeState,
    pub presence: Presence,
    pub demoted_at: Option<Timestamp>,
    pub earns: bool,
    /// A read found it missing or damaged, and the audit has not looked yet.
    pub suspect: bool,
    pub used_bytes: u64,
    pub capacity_bytes: u64,
    pub domains: FailureDomains,
}

impl Replica {
    pub fn counts(&self) -> bool {
        self.demoted_at.is_none()
            && self.node_state.replicas_count()
            && self.presence != Presence::Away
    }

    fn is_readable(&self) -> bool {
        self.counts() && self.presence == Presence::Online
    }

    /// It counts, and is not to be moved elsewhere.
    pub fn stays(&self) -> bool {
        self.counts() && self.node_state.replicas_stay()
    }

    /// It goes once the chunk has enough without it. One that failed stays for as long as the audit counts
    /// it, unless its node is out anyway.
    fn leaves(&self, now: Timestamp) -> bool {
        match self.demoted_at {
            None => self.node_state == NodeState::Draining,
            Some(at) => {
                !self.node_state.replicas_count() || now.duration_since(at) > LOSS_REMEMBERED_FOR
            }
        }
    }

    /// In sixteenths.
    const fn fill(&self) -> u64 {
        let capacity = if self.capacity_bytes == 0 {
            1
        } else {
            self.capacity_bytes
        };
        self.used_bytes.saturating_mul(16) / capacity
    }
}

/// How safe a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Replicas that count; where no more are readable than the chunk needs, the readable ones.
    pub healthy: usize,
    /// Copies to be made.
    pub missing: usize,
}

/// What is done to a chunk's replicas, by their places in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub remove: Vec<usize>,
    pub stop_earning: Vec<usize>,
    pub start_earning: Vec<usize>,
}

pub fn health(replicas: &[Replica], scheme: Scheme) -> Health {
    let count = |is: fn(&Replica) -> bool| replicas.iter().filter(|replica| is(replica)).count();
    let readable = count(Replica::is_readable);
    let (promised, safe) = (scheme.pieces() as usize, scheme.safe() as usize);
    let for_promise = promised.saturating_sub(count(Replica::stays));
    let for_safety = safe.saturating_sub(readable);
    Health {
        healthy: if readable <= scheme.needed() as usize {
            readable
        } else {
            count(Replica::counts)
        },
        missing: for_promise.max(for_safety),
    }
}

/// What can go, and who earns afterwards: never more than the scheme has pieces.
pub fn plan(replicas: &[Replica], scheme: Scheme, now: Timestamp) -> Plan {
    let target = scheme.pieces() as usize;
    let mut remove = Vec::new();
    let mut kept: Vec<usize> = (0..replicas.len()).collect();
    let safe = |kept: &[usize]| -> Vec<usize> {
        let safe = kept.iter().copied();
        safe.filter(|at| replicas[*at].stays() && replicas[*at].is_readable())
            .collect()
    };
    if safe(&kept).len() >= target {
        remove.extend(kept.extract_if(.., |at| replicas[*at].leaves(now)));
        loop {
            let candidates = safe(&kept);
            if candidates.len() <= target {
                break;
            }
            let worst = candidates.iter().copied();
            let Some(worst) = worst.max_by_key(|at| badness(replicas, &candidates, *at)) else {
                break;
            };
            kept.retain(|at| *at != worst);
            remove.push(worst);
        }
    }

    // Whoever earns goes on as long as it counts; an absent one until another has taken its place.
    let mut earners = kept;
    earners.retain(|at| replicas[*at].demoted_at.is_none());
    earners.sort_by_key(|at| {
        let replica = &replicas[*at];
        (!replica.counts(), !replica.earns, replica.node_id)
    });
    earners.truncate(target);
    let changes = |earn: bool| -> Vec<usize> {
        let all = 0..replicas.len();
        all.filter(|at| replicas[*at].earns != earn && earners.contains(at) == earn)
            .collect()
    };
    Plan {
        remove,
        stop_earning: changes(false),
        start_earning: changes(true),
    }
}

/// The worst placed of the replicas of a chunk that lacks none, when it stands in one failure domain with another:
/// a repair took the place that there was. While one of them is in doubt, that comes first.
pub fn misplaced(replicas: &[Replica], scheme: Scheme) -> Option<usize> {
    let target = scheme.pieces() as usize;
    let safe = |at: &usize| replicas[*at].stays() && replicas[*at].is_readable();
    let staying: Vec<usize> = (0..replicas.len()).filter(safe).collect();
    if staying.len() != target || staying.iter().any(|at| replicas[*at].suspect) {
        return None;
    }
    let badness = |at: &usize| badness(replicas, &staying, *at);
    let worst = staying.iter().copied().max_by_key(badness)?;
    (badness(&worst).shared_domains > 0).then_some(worst)
}

/// How long a chunk with so many healthy replicas waits after so many attempts in vain: never long for a last one.
pub fn retry_pause(healthy: usize, attempts: u32) -> Duration {
    let doubled = 1_u32 << attempts.saturating_sub(1).min(6);
    let longest = match healthy {
        ..=1 => LONGEST_PAUSE_OF_LAST,
        _ => LONGEST_PAUSE,
    };
    (FIRST_PAUSE * doubled).min(longest)
}

/// How badly a replica is placed among the others; the worst goes first. The order of the fields is the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Badness {
    /// Another one is on the same node, and lost with it.
    second_on_node: bool,
    suspect: bool,
    /// Failure domains that others stand in as well.
    shared_domains: usize,
    node_suspended: bool,
    fill: u64,
    /// Last, for a deterministic order.
    node_id: NodeId,
}

fn badness(replicas: &[Replica], among: &[usize], at: usize) -> Badness {
    let replica = &replicas[at];
    let others = among.iter().filter(|other| **other != at);
    let others = others.map(|other| &replicas[*other]);
    Badness {
        second_on_node: others.clone().any(|other| other.node_id == replica.node_id),
        suspect: replica.suspect,
        shared_domains: others
            .map(|other| replica.domains.shared_with(&other.domains))
            .sum(),
        node_suspended: replica.node_state == NodeState::Suspended,
        fill: replica.fill(),
        node_id: replica.node_id,
    }
}

#[cfg(test)]
mod tests;
