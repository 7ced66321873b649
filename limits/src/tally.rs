//! What strangers do again and again, counted for each of them and each minute, in bounded room.
//!
//! Of a minute so many are told apart; those who come after them are counted together. Rejected: a row for each attempt,
//! which whoever tries writes at will; and forgetting those who are too many.

use std::collections::HashMap;
use std::hash::Hash;

/// Minutes that wait to be taken, when nobody takes them.
const MOST_MINUTES: usize = 10;

/// Counts of the minute that runs, and of those before that nobody has taken yet.
#[derive(Debug)]
pub struct Tally<K> {
    minute: i64,
    counts: HashMap<K, u64>,
    others: u64,
    most: usize,
    before: Vec<Counted<K>>,
}

/// So many, of one, or of all that were too many to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<K> {
    /// Minutes since 1970.
    pub minute: i64,
    pub who: Option<K>,
    pub count: u64,
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// That tells so many apart in a minute.
    pub fn new(most: usize) -> Self {
        Self {
            minute: 0,
            counts: HashMap::new(),
            others: 0,
            most,
            before: Vec::new(),
        }
    }

    pub fn count(&mut self, minute: i64, who: K) {
        if minute != self.minute {
            self.begin(minute);
        }
        let room = self.counts.len() < self.most;
        if let Some(count) = self.counts.get_mut(&who) {
            *count += 1;
        } else if room {
            self.counts.insert(who, 1);
        } else {
            self.others += 1;
        }
    }

    fn begin(&mut self, minute: i64) {
        let counted = self.current();
        if self.before.len() + counted.len() <= MOST_MINUTES * (self.most + 1) {
            self.before.extend(counted);
        }
        self.counts.clear();
        self.minute = minute;
    }

    /// All that was counted and not taken yet. Who was told apart in this minute still is.
    pub fn take(&mut self) -> Vec<Counted<K>> {
        let counted = self.current();
        let mut taken = std::mem::take(&mut self.before);
        taken.extend(counted);
        taken
    }

    fn current(&mut self) -> Vec<Counted<K>> {
        let minute = self.minute;
        let counted = self.counts.iter_mut().filter(|(_, count)| **count > 0);
        let counted = counted.map(|(who, count)| (Some(who.clone()), std::mem::take(count)));
        let others = std::mem::take(&mut self.others);
        let all = counted.chain((others > 0).then_some((None, others)));
        let all = all.map(|(who, count)| Counted { minute, who, count });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<K: Ord + Clone>(mut counted: Vec<Counted<K>>) -> Vec<(i64, Option<K>, u64)> {
        counted.sort_by_key(|one| (one.minute, one.who.clone()));
        let told = counted.into_iter();
        told.map(|one| (one.minute, one.who, one.count)).collect()
    }

    #[test]
    fn each_is_counted_for_each_minute() {
        let mut tally = Tally::new(10);
        for (minute, who) in [(1, 'a'), (1, 'b'), (1, 'a'), (2, 'a')] {
            tally.count(minute, who);
        }
        let taken = sorted(tally.take());
        assert_eq!(
            taken,
            [(1, Some('a'), 2), (1, Some('b'), 1), (2, Some('a'), 1)]
        );
        assert!(tally.take().is_empty());
        tally.count(2, 'a');
        assert_eq!(sorted(tally.take()), [(2, Some('a'), 1)]);
    }

    #[test]
    fn those_who_are_too_many_are_counted_together() {
        let mut tally = Tally::new(2);
        for who in 0..100 {
            tally.count(1, who % 5);
        }
        let taken = sorted(tally.take());
        assert_eq!(taken, [(1, None, 60), (1, Some(0), 20), (1, Some(1), 20)]);
    }

    #[test]
    fn where_nobody_takes_them_no_more_are_kept_than_there_is_room_for() {
        let mut tally = Tally::new(3);
        for minute in 0..10_000 {
            for who in 0..10 {
                tally.count(minute, who);
            }
        }
        assert!(tally.take().len() <= (MOST_MINUTES + 1) * 4);
        tally.count(10_000, 1);
        assert_eq!(sorted(tally.take()), [(10_000, Some(1), 1)]);
    }
}
