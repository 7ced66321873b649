//! Uptime, from samples: at random moments each node is asked for a sign of life, and either one comes in time, or the
//! node counts as absent at that moment.
//!
//! The gaps between two samples of a node are exponential: whatever has passed since the last one, the next is as
//! likely now as at any other moment. So no pattern of absence is met in phase, and nothing is gained by answering and
//! then going away. Samples are kept by windows of 10 seconds. A window's share is that of its samples which were
//! answered, a short gap without a sample takes the mean of its neighbours, and uptime is the mean of the windows: that
//! errs less than the mean of all samples, since most windows lie within one presence or one absence. But whoever goes
//! away each time that he was asked has his answers in windows with few samples; so uptime is no more than half a point
//! above the mean of all samples, which nobody can outwit. Windows without samples around them are those in which nobody
//! was looking. Rejected: looking who has been heard of lately, which is
//! blind to absences shorter than that and can be met in phase; and one sample in each window, after which a node is
//! safe until the next.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

pub const WINDOW_MS: i64 = 10_000;

/// Between two samples of a node, on average.
pub const MEAN_GAP: Duration = Duration::from_secs(5);

/// Looks at the fleet that are further apart than this were interrupted.
pub const LONGEST_GAP: Duration = Duration::from_secs(20);

/// Nodes may take this long to come back after a coordinator has started.
pub const SETTLING: Duration = Duration::from_secs(60);

/// Windows in one row.
pub const SLOT_WINDOWS: i64 = 64;

/// An answer may take so much longer than the fastest one.
const LATEST: Duration = Duration::from_millis(250);

/// But the first after a silence only so much: a slow one says that the node has come back since it was asked, and not
/// that it was there. Over many short absences those would add up.
const LATEST_AFTER_SILENCE: Duration = Duration::from_millis(60);

/// A node that delays all its answers gains no more than this. No way on earth is longer.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// What this coordinator is sending to the node goes before the question: so many bytes in a second, but no longer
/// than a second.
const SLOWEST_LINE: u64 = 1024 * 1024;
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// Empty windows in a row that are no pause: of two samples in ten seconds, chance leaves out so many.
const CHANCE_GAP: i64 = 2;

/// Uptime is at most so many millionths above the mean of all samples. By chance the two are rarely further apart.
const ABOVE_ALL_SAMPLES: u64 = 5_000;

/// What a window in which an earlier release was looking stands for.
const SAMPLES_OF_A_BIT: u64 = 2;

/// Windows that are looked at together when one coordinator hears a node and another does not.
const GROUP_WINDOWS: usize = 8;

/// The time until a node's next sample; `chance` from 0 to 1, 1 excluded.
pub fn gap(chance: f64) -> Duration {
    MEAN_GAP.mul_f64(-(1.0 - chance.clamp(0.0, 1.0 - f64::EPSILON)).ln())
}

/// How long an answer may take, of a node whose fastest ping took so long, while so many bytes are on their way to it.
pub fn answer_within(
    lowest_ping: Option<Duration>,
    queued_bytes: u64,
    after_silence: bool,
) -> Duration {
    let queue = Duration::from_secs_f64(queued_bytes as f64 / SLOWEST_LINE as f64);
    let latest = match after_silence {
        true => LATEST_AFTER_SILENCE,
        false => LATEST,
    };
    lowest_ping.unwrap_or(LONGEST_WAY).min(LONGEST_WAY) + queue.min(LONGEST_QUEUE) + latest
}

/// The window in which a moment lies.
pub fn window_of(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(WINDOW_MS)
}

/// Slot and place in it of a window.
pub fn place_of(window: i64) -> (i64, usize) {
    let place = window.rem_euclid(SLOT_WINDOWS);
    (window.div_euclid(SLOT_WINDOWS), place as usize)
}

/// Samples of one window: how many were taken, and how many of them answered. 15 at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Samples {
    taken: u8,
    answered: u8,
}

impl Samples {
    const MOST: u8 = 15;

    /// As they are kept: those that were taken in the high half of a byte, those that were answered in the low one.
    pub const fn to_byte(self) -> u8 {
        self.taken << 4 | self.answered
    }

    pub const fn from_byte(byte: u8) -> Self {
        let (taken, answered) = (byte >> 4, byte & 15);
        Self {
            taken,
            // Never more than there were, whatever is kept.
            answered: if answered < taken { answered } else { taken },
        }
    }

    /// With one more; beyond what can be kept, without it.
    #[must_use]
    pub const fn with(self, answered: bool) -> Self {
        if self.taken == Self::MOST {
            return self;
        }
        Self {
            taken: self.taken + 1,
            answered: self.answered + answered as u8,
        }
    }
}

/// A row: the samples that one coordinator has taken of a node in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSamples {
    pub slot: i64,
    pub windows: [u8; SLOT_WINDOWS as usize],
}

/// By which rule the uptime of a settled day was worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A bit for each window in which the node was heard of lately, of those in which somebody looked.
    Windows,
    /// Samples; where there are none, because a coordinator of an earlier release was looking, the bits.
    Samples,
}

impl Rule {
    pub const CURRENT: Self = Self::Samples;

    pub const fn number(self) -> i16 {
        match self {
            Self::Windows => 1,
            Self::Samples => 2,
        }
    }

    /// `None` for a rule of a later release. Earlier ones have written none.
    pub const fn from_number(number: Option<i16>) -> Option<Self> {
        match number {
            None | Some(1) => Some(Self::Windows),
            Some(2) => Some(Self::Samples),
            Some(_) => None,
        }
    }
}

/// A stretch of time as windows: those that begin in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    first: i64,
    end: i64,
}

/// Taken and answered, in one window or several.
type Count = (u64, u64);

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

    pub fn contains(&self, window: i64) -> bool {
        (self.first..self.end).contains(&window)
    }

    /// Uptime, in millionths; full where nobody was looking. `bits` are slots as (slot, seen, observed), as
    /// coordinators of earlier releases have written them.
    pub fn uptime_ppm(
        &self,
        bits: impl IntoIterator<Item = (i64, u64, u64)>,
        samples: impl IntoIterator<Item = SlotSamples>,
    ) -> u32 {
        let counts = self.counts(samples);
        let mut shares: BTreeMap<i64, u64> = BTreeMap::new();
        let (mut all, mut present) = (0u64, 0u64);
        for (slot, seen, observed) in bits {
            for place in 0..SLOT_WINDOWS {
                let window = slot * SLOT_WINDOWS + place;
                let bit = 1u64 << place;
                let sampled = counts.contains_key(&window);
                if observed & bit == 0 || sampled || !self.contains(window) {
                    continue;
                }
                let there = u64::from(seen & bit != 0);
                shares.insert(window, there * 1_000_000);
                all += SAMPLES_OF_A_BIT;
                present += there * SAMPLES_OF_A_BIT;
            }
        }
        for (window, (taken, answered)) in counts {
            all += taken;
            present += answered;
            if let Some(share) = (answered * 1_000_000).checked_div(taken) {
                shares.insert(window, share);
            }
        }
        let of_samples = (present * 1_000_000).checked_div(all);
        let most = of_samples.map_or(1_000_000, |share| share + ABOVE_ALL_SAMPLES);
        mean(&shares).min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// What all coordinators have taken together, by window.
    fn counts(&self, samples: impl IntoIterator<Item = SlotSamples>) -> BTreeMap<i64, Count> {
        let mut slots: BTreeMap<i64, Vec<SlotSamples>> = BTreeMap::new();
        for row in samples {
            slots.entry(row.slot).or_default().push(row);
        }
        let mut counts = BTreeMap::new();
        for (slot, rows) in slots {
            for group in 0..SLOT_WINDOWS as usize / GROUP_WINDOWS {
                let places = group * GROUP_WINDOWS..(group + 1) * GROUP_WINDOWS;
                let of = |row: &SlotSamples, place: usize| {
                    let samples = Samples::from_byte(row.windows[place]);
                    (u64::from(samples.taken), u64::from(samples.answered))
                };
                let heard = |row: &&SlotSamples| places.clone().any(|place| of(row, place).1 > 0);
                // Whoever hears nothing at all of a node that others hear has lost its way to it.
                let anybody = rows.iter().any(|row| heard(&row));
                for row in rows.iter().filter(|row| !anybody || heard(row)) {
                    for place in places.clone() {
                        let window = slot * SLOT_WINDOWS + place as i64;
                        let (taken, answered) = of(row, place);
                        if taken > 0 && self.contains(window) {
                            let count: &mut Count = counts.entry(window).or_default();
                            *count = (count.0 + taken, count.1 + answered);
                        }
                    }
                }
            }
        }
        counts
    }
}

/// The mean of the windows' shares, those that chance has left out filled in.
fn mean(shares: &BTreeMap<i64, u64>) -> u32 {
    let (mut sum, mut windows) = (0u64, 0u64);
    let mut before: Option<(i64, u64)> = None;
    for (window, share) in shares {
        if let Some((last, last_share)) = before {
            let left_out = window - last - 1;
            if left_out <= CHANCE_GAP {
                let left_out = left_out.unsigned_abs();
                sum += left_out * ((last_share + share) / 2);
                windows += left_out;
            }
        }
        sum += share;
        windows += 1;
        before = Some((*window, *share));
    }
    sum.checked_div(windows)
        .map_or(1_000_000, |mean| mean as u32)
}

#[cfg(test)]
mod tests;
