//! Uptime in windows of 10 seconds: a window in which the node was there, of those in which a coordinator
//! was looking. A look tells of the windows whose middle lies between it and the look before, so that
//! every window is judged once, and by looks that follow each other closely; after a pause, be it of
//! the coordinator or of its database, nothing is said of the time in between.

use std::time::Duration;

use jiff::Timestamp;

pub const WINDOW_MS: i64 = 10_000;

/// Looks further apart than this say nothing of the time between them.
pub const LONGEST_GAP: Duration = Duration::from_secs(20);

/// Nodes may take this long to come back after a coordinator has started.
pub const SETTLING: Duration = Duration::from_secs(60);

/// Windows in one row.
pub const SLOT_WINDOWS: i64 = 64;

/// Windows of one slot, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWindows {
    pub slot: i64,
    pub bits: u64,
}

/// The windows that a look at `now` tells of, when the one before was at `before`.
pub fn windows_between(before: Timestamp, now: Timestamp) -> Vec<SlotWindows> {
    let middle = |at: Timestamp| (at.as_millisecond() + WINDOW_MS / 2).div_euclid(WINDOW_MS);
    let (first, end) = (middle(before), middle(now)); // first window whose middle lies behind
    let longest = LONGEST_GAP.as_millis() as i64 / WINDOW_MS + 1;
    if now < before || end - first > longest {
        return Vec::new();
    }
    mask(first, end)
}

/// The windows from `first` on and before `end`.
fn mask(first: i64, end: i64) -> Vec<SlotWindows> {
    let mut slots: Vec<SlotWindows> = Vec::new();
    for window in first..end {
        let (slot, bit) = (
            window.div_euclid(SLOT_WINDOWS),
            window.rem_euclid(SLOT_WINDOWS),
        );
        match slots.last_mut() {
            Some(last) if last.slot == slot => last.bits |= 1 << bit,
            _ => slots.push(SlotWindows {
                slot,
                bits: 1 << bit,
            }),
        }
    }
    slots
}

/// A stretch of time as windows: those that begin in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    first: i64,
    end: i64,
}

impl Stretch {
    pub fn new(starts_at: Timestamp, ends_at: Timestamp) -> Self {
        let window = |at: Timestamp| (at.as_millisecond() + WINDOW_MS - 1).div_euclid(WINDOW_MS);
        Self {
            first: window(starts_at),
            end: window(ends_at),
        }
    }

    /// The slots that it touches: the first, and the last.
    pub fn slots(&self) -> (i64, i64) {
        let last = (self.end - 1).max(self.first);
        (
            self.first.div_euclid(SLOT_WINDOWS),
            last.div_euclid(SLOT_WINDOWS),
        )
    }

    /// Those of the windows that lie in it.
    pub fn part_of(&self, windows: &SlotWindows) -> Option<SlotWindows> {
        let (slot, bits) = (windows.slot, windows.bits & self.bits(windows.slot));
        (bits != 0).then_some(SlotWindows { slot, bits })
    }

    /// Which windows of a slot lie in it.
    fn bits(&self, slot: i64) -> u64 {
        let begin = slot * SLOT_WINDOWS;
        let first = (self.first - begin).clamp(0, SLOT_WINDOWS) as u32;
        let end = (self.end - begin).clamp(0, SLOT_WINDOWS) as u32;
        let below = |n: u32| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
        below(end) & !below(first)
    }

    /// Uptime over the slots that are given as (slot, seen, observed). Full where nobody was looking.
    pub fn uptime_ppm(&self, slots: impl IntoIterator<Item = (i64, u64, u64)>) -> u32 {
        let (mut seen, mut observed) = (0u64, 0u64);
        for (slot, node, looked) in slots {
            let looked = looked & self.bits(slot);
            seen += u64::from((node & looked).count_ones());
            observed += u64::from(looked.count_ones());
        }
        match observed {
            0 => 1_000_000,
            _ => (seen * 1_000_000 / observed) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    const DAY_MS: i64 = 86_400_000;

    /// Looks every 5 s, as the worker does; `there` and `looking` say when the node and the
    /// coordinator were.
    fn measured(there: impl Fn(i64) -> bool, looking: impl Fn(i64) -> bool) -> u32 {
        let mut slots: HashMap<i64, (u64, u64)> = HashMap::new();
        let mut before = None;
        for now in (0..DAY_MS + 10_000).step_by(5000) {
            if !looking(now) {
                before = None;
                continue;
            }
            if let Some(before) = before {
                for windows in windows_between(ms(before), ms(now)) {
                    let slot = slots.entry(windows.slot).or_default();
                    slot.1 |= windows.bits;
                    if there(now) {
                        slot.0 |= windows.bits;
                    }
                }
            }
            before = Some(now);
        }
        let stretch = Stretch::new(ms(0), ms(DAY_MS));
        stretch.uptime_ppm(
            slots
                .into_iter()
                .map(|(slot, (seen, observed))| (slot, seen, observed)),
        )
    }

    #[test]
    fn uptime_is_what_it_was_within_a_percent() {
        assert_eq!(measured(|_| true, |_| true), 1_000_000);
        assert_eq!(measured(|_| false, |_| true), 0);
        let hour = |now: i64| now / 3_600_000;
        let measured = |off: i64| measured(|now| hour(now) >= off, |_| true);
        for off in [1, 3, 7, 20] {
            let exact = 1_000_000 - off * 1_000_000 / 24;
            assert!(
                (i64::from(measured(off)) - exact).abs() < 1000,
                "{off} hours"
            );
        }
    }

    #[test]
    fn the_time_in_which_the_coordinator_was_away_is_nobodys_loss() {
        let hour = |now: i64| now / 3_600_000;
        // It was away for six hours, in which the node cannot be seen.
        let away = |now| !(6..12).contains(&hour(now));
        assert_eq!(measured(away, away), 1_000_000);
        // And 3 of the other 18 hours the node was really off.
        let measured = measured(|now| away(now) && hour(now) >= 3, away);
        assert!((i64::from(measured) - 833_333).abs() < 1000, "{measured}");
    }

    #[test]
    fn looks_that_are_far_apart_say_nothing_of_the_time_between() {
        assert!(windows_between(ms(0), ms(60_000)).is_empty());
        assert!(windows_between(ms(60_000), ms(0)).is_empty());
        assert!(windows_between(ms(1), ms(2)).is_empty());
        assert_eq!(
            windows_between(ms(0), ms(5_000)),
            [SlotWindows { slot: 0, bits: 1 }]
        );
    }

    #[test]
    fn a_day_in_which_nobody_looked_costs_nothing() {
        assert_eq!(Stretch::new(ms(0), ms(DAY_MS)).uptime_ppm([]), 1_000_000);
    }

    proptest! {
        #[test]
        fn looks_in_a_row_judge_every_window_once(steps in prop::collection::vec(1i64..9_000, 1..300)) {
            let (mut now, mut judged) = (0, HashMap::new());
            for step in steps {
                for windows in windows_between(ms(now), ms(now + step)) {
                    let bits = judged.entry(windows.slot).or_insert(0u64);
                    prop_assert_eq!(*bits & windows.bits, 0);
                    *bits |= windows.bits;
                }
                now += step;
            }
            let count: u32 = judged.values().map(|bits| bits.count_ones()).sum();
            prop_assert_eq!(i64::from(count), (now + WINDOW_MS / 2) / WINDOW_MS);
        }

        #[test]
        fn days_in_a_row_share_no_window(cut in 0i64..DAY_MS, end in 0i64..DAY_MS) {
            let end = cut + end;
            let windows = |from, until| {
                let stretch = Stretch::new(ms(from), ms(until));
                let (first, last) = stretch.slots();
                (first..=last).map(|slot| i64::from(stretch.bits(slot).count_ones())).sum::<i64>()
            };
            prop_assert_eq!(windows(0, cut) + windows(cut, end), windows(0, end));
        }
    }
}
