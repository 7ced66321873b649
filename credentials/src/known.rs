//! What is known of those who ask, for a moment: so that the common request asks the database nothing.
//!
//! Invariants: nothing is known for longer than [`MOST_AGE`]; nothing at all while nobody listens for changes; what is
//! told to have changed is forgotten at once, and an answer that was asked for before that is not taken in after it.
//! Bounded: when there is no room, all is forgotten, and asked again by those who are still there.
//!
//! Rejected: least recently used gives way. It costs order at each request, and at this age there is little to keep.

use std::collections::HashMap;
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

/// How old what is known may be, even where a change was not heard of.
pub const MOST_AGE: SignedDuration = SignedDuration::from_secs(3);

/// What is known of each `K`, which belongs to a `G` of whom changes are told.
#[derive(Debug)]
pub struct Known<K, G, V> {
    entries: HashMap<K, Entry<G, V>>,
    most: usize,
    listening: bool,
    /// Grows with whatever is heard.
    heard: u64,
}

#[derive(Debug)]
struct Entry<G, V> {
    group: G,
    value: V,
    at: Timestamp,
}

/// When a question was asked, among all that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked(u64);

impl<K: Eq + Hash, G: PartialEq, V: Clone> Known<K, G, V> {
    /// Of so many at most. Nothing is taken in before [`Self::listens`].
    pub fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            listening: false,
            heard: 0,
        }
    }

    /// What is known, unless it is too old. A clock that was set back makes all of it too old.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let entry = self.entries.get(key)?;
        let age = now.duration_since(entry.at);
        let fresh = age >= SignedDuration::ZERO && age <= MOST_AGE;
        fresh.then(|| entry.value.clone())
    }

    /// To be called before the database is asked.
    pub const fn asks(&self) -> Asked {
        Asked(self.heard)
    }

    /// What the database has answered, unless something was heard since it was asked.
    pub fn learn(&mut self, asked: Asked, key: K, group: G, value: V, now: Timestamp) {
        if !self.listening || asked.0 != self.heard {
            return;
        }
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.entries.clear();
        }
        let at = now;
        self.entries.insert(key, Entry { group, value, at });
    }

    /// Something of this group has changed.
    pub fn changed(&mut self, group: &G) {
        self.heard += 1;
        self.entries.retain(|_, entry| entry.group != *group);
    }

    /// Whether changes are heard of from now on. Either way something may have been missed.
    pub fn listens(&mut self, listening: bool) {
        self.heard += 1;
        self.listening = listening;
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
    }

    fn listening() -> Known<u32, char, &'static str> {
        let mut known = Known::new(3);
        known.listens(true);
        known
    }

    #[test]
    fn what_was_learned_is_known_until_it_is_old() {
        let mut known = listening();
        known.learn(known.asks(), 1, 'a', "one", at(0));
        assert_eq!(known.get(&1, at(3000)), Some("one"));
        assert_eq!(known.get(&1, at(3001)), None);
        assert_eq!(known.get(&1, at(-1)), None, "the clock was set back");
        assert_eq!(known.get(&2, at(0)), None);
    }

    #[test]
    fn a_change_is_forgotten_with_all_of_its_group_and_nothing_else() {
        let mut known = listening();
        for (key, group) in [(1, 'a'), (2, 'a'), (3, 'b')] {
            known.learn(known.asks(), key, group, "known", at(0));
        }
        known.changed(&'a');
        let left = [1, 2, 3].map(|key| known.get(&key, at(0)));
        assert_eq!(left, [None, None, Some("known")]);
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_taken_in_after_it() {
        let mut known = listening();
        let asked = known.asks();
        known.changed(&'a');
        known.learn(asked, 1, 'a', "old", at(0));
        assert_eq!(known.get(&1, at(0)), None);
    }

    #[test]
    fn while_nobody_listens_nothing_is_known() {
        let mut known = listening();
        known.learn(known.asks(), 1, 'a', "one", at(0));
        known.listens(false);
        assert_eq!(known.get(&1, at(0)), None);
        known.learn(known.asks(), 1, 'a', "one", at(0));
        assert_eq!(known.get(&1, at(0)), None);
        let asked = known.asks();
        known.listens(true);
        known.learn(asked, 1, 'a', "one", at(0));
        assert_eq!(
            known.get(&1, at(0)),
            None,
            "it was asked before anybody listened"
        );
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let mut known = listening();
        for key in 0..1000 {
            known.learn(known.asks(), key, 'a', "known", at(0));
            assert!(known.entries.len() <= 3);
            assert_eq!(known.get(&key, at(0)), Some("known"));
        }
    }
}
