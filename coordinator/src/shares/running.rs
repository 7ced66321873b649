//! The answers that are being sent for shares, so that they end with their share: a job looks once a second which of the
//! shares that are running still lead somewhere.
//!
//! Rejected: a look into the database by each stream, which a client that takes nothing never comes to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use credentials::share::ShareHash;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Default)]
pub struct Running(Arc<Mutex<Streams>>);

/// As many as there are connections.
#[derive(Debug, Default)]
struct Streams {
    next: u64,
    all: HashMap<u64, (ShareHash, CancellationToken)>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    running: Running,
    /// The share has ended.
    pub ended: CancellationToken,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, share: ShareHash) -> Stream {
        let ended = CancellationToken::new();
        let mut streams = self.lock();
        let number = streams.next;
        streams.next += 1;
        streams.all.insert(number, (share, ended.clone()));
        Stream {
            number,
            running: self.clone(),
            ended,
        }
    }

    /// Each once.
    pub fn shares(&self) -> Vec<ShareHash> {
        let streams = self.lock();
        let shares: HashSet<ShareHash> = streams.all.values().map(|(share, _)| *share).collect();
        shares.into_iter().collect()
    }

    pub(super) fn cut(&self, share: ShareHash) {
        let streams = self.lock();
        for (_, ended) in streams.all.values().filter(|(of, _)| *of == share) {
            ended.cancel();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.running.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_of_a_share_are_cut_and_no_others() {
        let running = Running::default();
        let (one, other) = (ShareHash([1; 32]), ShareHash([2; 32]));
        let streams = [one, one, other].map(|share| running.begin(share));
        assert_eq!(running.shares().len(), 2);
        running.cut(one);
        let cut = streams.each_ref().map(|stream| stream.ended.is_cancelled());
        assert_eq!(cut, [true, true, false]);
        drop(streams);
        assert!(running.shares().is_empty());
        assert!(!running.begin(one).ended.is_cancelled());
    }
}
