//! What a chunk needs: which of its replicas count, how many are missing, which can go, and who earns.
//!
//! Two numbers keep each other in check. A replica *counts* while it is not demoted, its node is not out,
//! and has not been offline for longer than the grace; it is *readable* when its node is there as well. A
//! chunk of which no more replicas are readable than it needs has no grace, so that one copy is made at once; and
//! nothing is taken away that the readable replicas do not make up for. Pure; `chunk_health` in the
//! database finds the chunks that this is asked about.
//!
//! Of copies each stands in for any other. Of a coded chunk different pieces count, a second blob with the same piece adds
//! nothing, and only another one with its piece makes up for one that goes. So pieces are looked at number by number
//! (`Slot`), copies all together.
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
    /// Which piece of its chunk: 0 of a copy.
    pub piece: u8,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Different pieces, or copies, that count; where no more are readable than the chunk needs, the readable ones.
    pub healthy: usize,
    /// What is to be made: the numbers of pieces; of copies 0 for each.
    pub missing: Vec<u8>,
}

/// What is done to a chunk's replicas, by their places in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub remove: Vec<usize>,
    pub stop_earning: Vec<usize>,
    pub start_earning: Vec<usize>,
}

/// Replicas that stand in for each other, by their places in the list: all copies, or all with one piece.
struct Slot {
    piece: u8,
    replicas: Vec<usize>,
    /// Of these there are to be so many.
    target: usize,
}

fn slots(replicas: &[Replica], scheme: Scheme) -> Vec<Slot> {
    let slot = |piece, replicas: Vec<usize>, target| Slot {
        piece,
        replicas,
        target,
    };
    match scheme {
        Scheme::Copies { pieces } => {
            vec![slot(0, (0..replicas.len()).collect(), pieces as usize)]
        }
        Scheme::Coded { pieces, .. } => {
            let numbers = 0..u8::try_from(pieces).unwrap_or(u8::MAX);
            let with =
                |number: u8| (0..replicas.len()).filter(move |at| replicas[*at].piece == number);
            numbers
                .map(|number| slot(number, with(number).collect(), 1))
                .collect()
        }
    }
}

impl Slot {
    fn count(&self, replicas: &[Replica], is: fn(&Replica) -> bool) -> usize {
        let held = self.replicas.iter().filter(|at| is(&replicas[**at]));
        held.count()
    }

    /// Of those that are promised.
    fn lacks(&self, replicas: &[Replica], is: fn(&Replica) -> bool) -> usize {
        self.target.saturating_sub(self.count(replicas, is))
    }
}

pub fn health(replicas: &[Replica], scheme: Scheme) -> Health {
    let slots = slots(replicas, scheme);
    let count = |is: fn(&Replica) -> bool| -> usize {
        let counts = slots.iter().map(|slot| match scheme {
            Scheme::Copies { .. } => slot.count(replicas, is),
            Scheme::Coded { .. } => slot.count(replicas, is).min(1),
        });
        counts.sum()
    };
    let readable = count(Replica::is_readable);
    let lack = |is: fn(&Replica) -> bool| -> Vec<u8> {
        let lack = |slot: &Slot| std::iter::repeat_n(slot.piece, slot.lacks(replicas, is));
        slots.iter().flat_map(lack).collect()
    };
    let mut missing = lack(Replica::stays);
    if count(Replica::stays) >= scheme.repair_at() as usize {
        // What is lost waits for another loss; what its node takes along does not.
        missing.retain(|number| {
            let is_leaving = |replica: &Replica| replica.piece == *number && replica.counts();
            replicas.iter().any(is_leaving)
        });
    }
    let for_safety = (scheme.safe() as usize).saturating_sub(readable);
    match scheme {
        Scheme::Copies { .. } if missing.len() < for_safety => missing = vec![0; for_safety],
        Scheme::Copies { .. } => {}
        Scheme::Coded { .. } => {
            // A piece that can be read already makes the chunk no safer.
            let mut unreadable = lack(Replica::is_readable);
            let made = unreadable.len();
            unreadable.retain(|number| !missing.contains(number));
            let made = made - unreadable.len();
            missing.extend(unreadable.into_iter().take(for_safety.saturating_sub(made)));
        }
    }
    Health {
        healthy: if readable <= scheme.needed() as usize {
            readable
        } else {
            count(Replica::counts)
        },
        missing,
    }
}

/// What can go, and who earns afterwards: never more than the scheme has pieces.
pub fn plan(replicas: &[Replica], scheme: Scheme, now: Timestamp) -> Plan {
    let mut remove = Vec::new();
    let mut earners = Vec::new();
    for slot in slots(replicas, scheme) {
        let target = slot.target;
        let mut kept = slot.replicas;
        remove.extend(surplus(replicas, &mut kept, target, now));

        // Whoever earns goes on as long as it counts; an absent one until another has taken its place.
        kept.retain(|at| replicas[*at].demoted_at.is_none());
        kept.sort_by_key(|at| {
            let replica = &replicas[*at];
            (!replica.counts(), !replica.earns, replica.node_id)
        });
        earners.extend(kept.into_iter().take(target));
    }
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

/// Takes those that can go out of `kept`, while as many stay as there are to be.
fn surplus(
    replicas: &[Replica],
    kept: &mut Vec<usize>,
    target: usize,
    now: Timestamp,
) -> Vec<usize> {
    let mut remove = Vec::new();
    let safe = |kept: &[usize]| -> Vec<usize> {
        let safe = kept.iter().copied();
        safe.filter(|at| replicas[*at].stays() && replicas[*at].is_readable())
            .collect()
    };
    if safe(kept).len() < target {
        return remove;
    }
    remove.extend(kept.extract_if(.., |at| replicas[*at].leaves(now)));
    loop {
        let candidates = safe(kept);
        if candidates.len() <= target {
            return remove;
        }
        let worst = candidates.iter().copied();
        let Some(worst) = worst.max_by_key(|at| badness(replicas, &candidates, *at, 1)) else {
            return remove;
        };
        kept.retain(|at| *at != worst);
        remove.push(worst);
    }
}

/// The worst placed of the replicas of a chunk that lacks none, when it stands in one failure domain with another, or of a
/// coded chunk with more than may: a repair took the place that there was. While one of them is in doubt, that comes first.
pub fn misplaced(replicas: &[Replica], scheme: Scheme) -> Option<usize> {
    let target = scheme.pieces() as usize;
    let safe = |at: &usize| replicas[*at].stays() && replicas[*at].is_readable();
    let staying: Vec<usize> = (0..replicas.len()).filter(safe).collect();
    if staying.len() != target || staying.iter().any(|at| replicas[*at].suspect) {
        return None;
    }
    let most_together = scheme.most_together() as usize;
    let badness = |at: &usize| badness(replicas, &staying, *at, most_together);
    let worst = staying.iter().copied().max_by_key(badness)?;
    (badness(&worst).shared_domains > 0).then_some(worst)
}

/// How long a chunk with this margin waits after so many attempts in vain: never long for a last one.
pub fn retry_pause(margin: u32, attempts: u32) -> Duration {
    let doubled = 1_u32 << attempts.saturating_sub(1).min(6);
    let longest = match margin {
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
    /// How many stand in its failure domains beyond those that may.
    shared_domains: usize,
    node_suspended: bool,
    fill: u64,
    /// Last, for a deterministic order.
    node_id: NodeId,
}

/// `most_together` may stand in one failure domain.
fn badness(replicas: &[Replica], among: &[usize], at: usize, most_together: usize) -> Badness {
    let replica = &replicas[at];
    let others = among.iter().filter(|other| **other != at);
    let others = others.map(|other| &replicas[*other]);
    let too_many = |kind: usize| {
        let others = others.clone();
        let there = others.filter(|other| replica.domains.shares(&other.domains)[kind]);
        (there.count() + 1).saturating_sub(most_together)
    };
    Badness {
        second_on_node: others.clone().any(|other| other.node_id == replica.node_id),
        suspect: replica.suspect,
        shared_domains: (0..FailureDomains::KINDS).map(too_many).sum(),
        node_suspended: replica.node_state == NodeState::Suspended,
        fill: replica.fill(),
        node_id: replica.node_id,
    }
}

#[cfg(test)]
mod tests;
