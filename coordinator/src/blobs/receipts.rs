//! What nodes have signed for a moment ago, for whoever checks their word: receipts of newcomers, which are
//! challenged at once, and receipts for something else than was sent.
//!
//! In memory, and bounded: of a newcomer that gets many blobs a few by chance, so that none knows which. What is lost
//! with the process is asked for in the node's next round.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::{BlobId, NodeId};
use rand::{Rng, RngExt};

/// Receipts of one newcomer that wait to be challenged.
const FRESH_OF_A_NODE: usize = 8;

/// Newcomers of which receipts wait.
const NEWCOMERS: usize = 4096;

/// Its row is written by then, or its upload has failed.
const ROW_WITHIN: Duration = Duration::from_secs(60);

/// Receipts since they were last looked at.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    fresh: HashMap<NodeId, Fresh>,
    forged: HashMap<NodeId, u64>,
}

/// Of one newcomer.
#[derive(Debug, Default)]
struct Fresh {
    /// How many there were since the last look.
    seen: u64,
    sample: Vec<(BlobId, Instant)>,
}

impl Receipts {
    /// A node on probation has signed for a blob.
    pub(super) fn note_fresh(&self, node: NodeId, blob: BlobId, rng: &mut impl Rng) {
        let mut waiting = self.lock();
        if waiting.fresh.len() >= NEWCOMERS && !waiting.fresh.contains_key(&node) {
            return;
        }
        let fresh = waiting.fresh.entry(node).or_default();
        fresh.seen = fresh.seen.saturating_add(1);
        let entry = (blob, Instant::now());
        if fresh.sample.len() < FRESH_OF_A_NODE {
            fresh.sample.push(entry);
            return;
        }
        // Each of those that were seen is in the sample with the same chance.
        let place = rng.random_range(0..fresh.seen);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if let Some(taken) = fresh.sample.get_mut(place) {
            *taken = entry;
        }
    }

    /// A node has signed for something else than it was sent.
    pub fn note_forged(&self, node: NodeId) {
        let mut waiting = self.lock();
        let forged = waiting.forged.entry(node).or_default();
        *forged = forged.saturating_add(1);
    }

    /// Receipts of newcomers that wait to be challenged; they stay until [`Self::are_asked`].
    pub fn fresh(&self) -> Vec<(NodeId, BlobId)> {
        let mut waiting = self.lock();
        waiting.fresh.retain(|_, fresh| {
            let sample = &mut fresh.sample;
            sample.retain(|(_, since)| since.elapsed() < ROW_WITHIN);
            !sample.is_empty()
        });
        let of_node = |(node, fresh): (&NodeId, &Fresh)| {
            let node = *node;
            let blobs: Vec<_> = fresh.sample.iter().map(|(blob, _)| (node, *blob)).collect();
            blobs
        };
        waiting.fresh.iter().flat_map(of_node).collect()
    }

    /// These have been entered for being challenged.
    pub fn are_asked(&self, replicas: &[(NodeId, BlobId)]) {
        let mut waiting = self.lock();
        for (node, blob) in replicas {
            if let Some(fresh) = waiting.fresh.get_mut(node) {
                fresh.sample.retain(|(waiting, _)| waiting != blob);
                fresh.seen = fresh.sample.len() as u64;
            }
        }
    }

    /// Nodes that forged receipts since this was last asked, and how many.
    pub fn take_forged(&self) -> Vec<(NodeId, u64)> {
        std::mem::take(&mut self.lock().forged)
            .into_iter()
            .collect()
    }

    /// That could not be written down.
    pub fn put_back_forged(&self, node: NodeId, receipts: u64) {
        *self.lock().forged.entry(node).or_default() += receipts;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn blob(n: u32) -> BlobId {
        BlobId::of(&n.to_le_bytes())
    }

    #[test]
    fn of_many_fresh_receipts_few_are_challenged_and_none_knows_which() {
        let (receipts, mut rng) = (Receipts::default(), StdRng::seed_from_u64(1));
        let node = NodeId::from_bytes([1; 16]);
        for n in 0..1000 {
            receipts.note_fresh(node, blob(n), &mut rng);
        }
        let sample = receipts.fresh();
        assert_eq!(sample.len(), FRESH_OF_A_NODE);
        let late = (500..1000).map(blob);
        let late = late.filter(|blob| sample.contains(&(node, *blob)));
        assert!((1..FRESH_OF_A_NODE).contains(&late.count()));
        receipts.are_asked(&sample[1..]);
        assert_eq!(receipts.fresh(), sample[..1]);
    }

    #[test]
    fn forged_receipts_are_counted_and_told_once() {
        let receipts = Receipts::default();
        let node = NodeId::from_bytes([1; 16]);
        receipts.note_forged(node);
        receipts.note_forged(node);
        assert_eq!(receipts.take_forged(), [(node, 2)]);
        assert_eq!(receipts.take_forged(), []);
    }
}
