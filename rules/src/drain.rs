//! Whether a node can leave in order: is there room elsewhere for what it holds, and how long will it
//! take to move it.
//!
//! Room is judged by sums and by a sample of the node's chunks, not by an assignment of every chunk to
//! a node: repair places chunk by chunk anyway, and what one node has to offer changes while it does.

use std::time::Duration;

use crate::placement::Candidate;
use sealing::SEALING_OVERHEAD;

/// Chunks of a node that are looked at to see whether there is another node for them.
pub const SAMPLE: u32 = 1000;

/// What a node holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub blobs: u64,
    /// Of the chunks' plaintext.
    pub bytes: u64,
}

impl Load {
    /// As the nodes see it.
    pub fn sealed_bytes(self) -> u64 {
        let overhead = self.blobs.saturating_mul(SEALING_OVERHEAD as u64);
        self.bytes.saturating_add(overhead)
    }

    /// What is no longer there of `before`.
    pub fn moved_since(self, before: Self) -> Self {
        Self {
            blobs: before.blobs.saturating_sub(self.blobs),
            bytes: before.bytes.saturating_sub(self.bytes),
        }
    }
}

/// What the rest of the fleet has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub nodes: usize,
    pub free_bytes: u64,
}

impl Room {
    pub fn of(others: &[Candidate]) -> Self {
        let free = |node: &Candidate| node.free_bytes.saturating_sub(node.in_flight_bytes);
        Self {
            nodes: others.len(),
            free_bytes: others.iter().map(free).fold(0, u64::saturating_add),
        }
    }
}

/// Of a sample of the node's chunks, how many are on every other node that takes blobs already, or
/// on too few to have a third copy anywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stuck {
    pub chunks: u64,
    pub of: u64,
}

/// Why a node cannot be drained now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("{stuck} of {of} chunks looked at have no node to go to but those that have them")]
    TooFewNodes { stuck: u64, of: u64 },
    #[error("{needed_bytes} bytes have to be moved and other nodes have room for {free_bytes}")]
    TooLittleSpace { needed_bytes: u64, free_bytes: u64 },
}

impl NoRoom {
    /// Room that is missing; 0 where it is not room.
    pub fn missing_bytes(self) -> u64 {
        match self {
            Self::TooFewNodes { .. } => 0,
            Self::TooLittleSpace {
                needed_bytes,
                free_bytes,
            } => needed_bytes.saturating_sub(free_bytes),
        }
    }

    pub fn find(load: Load, room: Room, stuck: Stuck) -> Option<Self> {
        if stuck.chunks > 0 {
            return Some(Self::TooFewNodes {
                stuck: stuck.chunks,
                of: stuck.of,
            });
        }
        let needed_bytes = load.sealed_bytes();
        (needed_bytes > room.free_bytes).then_some(Self::TooLittleSpace {
            needed_bytes,
            free_bytes: room.free_bytes,
        })
    }
}

/// Bytes that were moved in a time: how fast this network moves what it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub bytes: u64,
    pub elapsed: Duration,
}

/// How long `bytes` will take: as long as the last ones did, and no less than the budget of repair allows
/// (bytes in a second). `None` where nothing tells.
pub fn estimate(bytes: u64, pace: Option<Pace>, budget: Option<u64>) -> Option<Duration> {
    let by_pace = pace.and_then(|pace| pace.foretell(bytes));
    let by_budget = budget.and_then(|bytes_per_second| {
        let elapsed = Duration::from_secs(1);
        let budget = Pace {
            bytes: bytes_per_second,
            elapsed,
        };
        budget.time_for(bytes)
    });
    by_pace.max(by_budget)
}

impl Pace {
    /// How long `bytes` will take at this pace. `None` where it was measured over less than a hundredth of them: how long
    /// it took to begin would be all that it tells, and minutes would become years.
    pub fn foretell(self, bytes: u64) -> Option<Duration> {
        let tells = self.bytes.saturating_mul(100) >= bytes;
        tells.then(|| self.time_for(bytes)).flatten()
    }

    /// How long `bytes` take at this pace; `None` when nothing has been moved.
    fn time_for(self, bytes: u64) -> Option<Duration> {
        let millis = u128::from(bytes) * self.elapsed.as_millis().max(1);
        let millis = millis.checked_div(u128::from(self.bytes))?;
        Some(Duration::from_millis(u64::try_from(millis).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proto::NodeId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_drain_takes_as_long_as_the_last_one_and_no_less_than_the_budget_allows() {
        let seconds = Duration::from_secs;
        let pace = Pace {
            bytes: 100,
            elapsed: seconds(10),
        };
        assert_eq!(estimate(1000, None, None), None);
        assert_eq!(estimate(1000, Some(pace), None), Some(seconds(100)));
        assert_eq!(estimate(1000, Some(pace), Some(5)), Some(seconds(200)));
        assert_eq!(estimate(1000, Some(pace), Some(50)), Some(seconds(100)));
        // A drain of 24 s that moved next to nothing does not announce two years.
        let short = Pace {
            bytes: 4096,
            elapsed: seconds(24),
        };
        assert_eq!(estimate(10_000_000_000, Some(short), None), None);
        assert_eq!(short.foretell(409_600), Some(seconds(2400)));
        assert_eq!(short.foretell(409_601), None);
        assert_eq!(estimate(1000, None, Some(50)), Some(seconds(20)));
    }
    use crate::placement::FailureDomains;

    fn node(free_bytes: u64, in_flight_bytes: u64) -> Candidate {
        Candidate {
            node_id: NodeId::from_uuid(Uuid::nil()),
            vetted: true,
            free_bytes,
            capacity_bytes: 10_000,
            in_flight_bytes,
            lagging: false,
            domains: FailureDomains::default(),
        }
    }

    #[test]
    fn what_is_on_its_way_to_the_others_is_no_room() {
        let room = Room::of(&[node(500, 100), node(50, 60)]);
        assert_eq!((room.nodes, room.free_bytes), (2, 400));
        assert_eq!(Room::of(&[]).free_bytes, 0);
    }

    #[test]
    fn a_byte_too_much_is_told_and_counts_what_sealing_adds() {
        let load = Load {
            blobs: 2,
            bytes: 1000,
        };
        let room = |free_bytes| Room {
            nodes: 3,
            free_bytes,
        };
        assert_eq!(NoRoom::find(load, room(1056), Stuck::default()), None);
        assert_eq!(
            NoRoom::find(load, room(1055), Stuck::default()),
            Some(NoRoom::TooLittleSpace {
                needed_bytes: 1056,
                free_bytes: 1055
            })
        );
    }

    #[test]
    fn a_chunk_that_can_go_nowhere_weighs_more_than_any_room() {
        let stuck = Stuck { chunks: 1, of: 9 };
        let room = Room {
            nodes: 2,
            free_bytes: u64::MAX,
        };
        assert_eq!(
            NoRoom::find(Load::default(), room, stuck),
            Some(NoRoom::TooFewNodes { stuck: 1, of: 9 })
        );
    }

    #[test]
    fn time_left_follows_the_pace_and_is_unknown_without_one() {
        let pace = |bytes| Pace {
            bytes,
            elapsed: Duration::from_secs(10),
        };
        assert_eq!(pace(100).time_for(250), Some(Duration::from_secs(25)));
        assert_eq!(pace(100).time_for(0), Some(Duration::ZERO));
        assert_eq!(pace(0).time_for(1), None);
    }
}
