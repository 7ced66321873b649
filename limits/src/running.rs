//! Answers that are being sent and have to end with what they are sent for, such as a link that is taken back: whoever
//! keeps that asks what is running, and cuts what has ended.
//!
//! Rejected: a look by each stream at what it is sent for, which a client that takes nothing never comes to.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All that is running, each for a `K`.
#[derive(Debug, Clone)]
pub struct Running<K>(Arc<Mutex<Streams<K>>>);

/// As many as there are connections.
#[derive(Debug)]
struct Streams<K> {
    next: u64,
    all: HashMap<u64, (K, CancellationToken)>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Stream<K> {
    number: u64,
    running: Running<K>,
    /// What it is sent for has ended.
    pub ended: CancellationToken,
}

impl<K> Default for Running<K> {
    fn default() -> Self {
        let streams = Streams {
            next: 0,
            all: HashMap::new(),
        };
        Self(Arc::new(Mutex::new(streams)))
    }
}

impl<K> Running<K> {
    fn lock(&self) -> MutexGuard<'_, Streams<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Running<K> {
    pub fn begin(&self, of: K) -> Stream<K> {
        let ended = CancellationToken::new();
        let mut streams = self.lock();
        let number = streams.next;
        streams.next += 1;
        streams.all.insert(number, (of, ended.clone()));
        Stream {
            number,
            running: Self(Arc::clone(&self.0)),
            ended,
        }
    }

    /// What something is sent for, each once.
    pub fn all(&self) -> Vec<K> {
        let streams = self.lock();
        let all: HashSet<K> = streams.all.values().map(|(of, _)| *of).collect();
        all.into_iter().collect()
    }

    pub fn cut(&self, of: K) {
        let streams = self.lock();
        for (_, ended) in streams.all.values().filter(|(other, _)| *other == of) {
            ended.cancel();
        }
    }
}

impl<K> Drop for Stream<K> {
    fn drop(&mut self) {
        self.running.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_of_what_has_ended_are_cut_and_no_others() {
        let running = Running::default();
        let (one, other) = (1, 2);
        let streams = [one, one, other].map(|of| running.begin(of));
        assert_eq!(running.all().len(), 2);
        running.cut(one);
        let cut = streams.each_ref().map(|stream| stream.ended.is_cancelled());
        assert_eq!(cut, [true, true, false]);
        drop(streams);
        assert!(running.all().is_empty());
        assert!(!running.begin(one).ended.is_cancelled());
    }
}
