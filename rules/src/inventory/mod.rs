//! Comparing what a node tells of its blobs with what the database names, and what may follow from it.
//! Pure.

use std::time::Duration;

use proto::{BlobId, BlobRange, GroupDigest, IdsDigest, InventoryAnswer, InventoryRequest};

/// Longer than an upload may take, with what is written at its end.
const UPLOAD_MARGIN: Duration = Duration::from_secs(3600);

/// So many differences need no explanation.
const FEW: u64 = 100;

/// A stretch of ids about which a node has told one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub range: BlobRange,
    /// `None`: the node holds nothing there.
    pub told: Option<GroupDigest>,
}

/// What an answer with digests says: spans that cover the ranges as far as the answer goes, without a gap.
pub fn spans(request: &InventoryRequest, answer: &InventoryAnswer) -> Vec<Span> {
    let mut spans = Vec::with_capacity(answer.groups.len() + request.ranges().len());
    let mut groups = answer.groups.iter().peekable();
    for range in request.ranges() {
        let mut rest = Some(match answer.resume_from {
            Some(stop) if stop <= range.first => break,
            Some(stop) if stop <= range.last => BlobRange {
                first: range.first,
                last: stop.previous().unwrap_or(range.first),
            },
            _ => *range,
        });
        while let Some(open) = rest
            && let Some(group) = groups.next_if(|group| open.contains(&group.last))
        {
            spans.push(Span {
                range: BlobRange {
                    first: open.first,
                    last: group.last,
                },
                told: Some(*group),
            });
            rest = open.behind(&group.last);
        }
        spans.extend(rest.map(|range| Span { range, told: None }));
    }
    spans
}

/// Holds spans against ids that come in order.
#[derive(Debug)]
pub struct Comparison {
    spans: std::vec::IntoIter<Span>,
    open: Option<Span>,
    seen: IdsDigest,
    doubtful: Vec<Span>,
}

impl Comparison {
    pub fn new(spans: Vec<Span>) -> Self {
        let mut spans = spans.into_iter();
        Self {
            open: spans.next(),
            spans,
            seen: IdsDigest::default(),
            doubtful: Vec::new(),
        }
    }

    /// The next id that should be there. It lies in one of the spans.
    pub fn see(&mut self, id: &BlobId) {
        while self.open.is_some_and(|open| open.range.last < *id) {
            self.close();
        }
        self.seen.add(id);
    }

    /// Spans in which the two sides differ.
    pub fn finish(mut self) -> Vec<Span> {
        while self.open.is_some() {
            self.close();
        }
        self.doubtful
    }

    fn close(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        let Some(span) = std::mem::replace(&mut self.open, self.spans.next()) else {
            return;
        };
        let same = match span.told {
            None => seen.count() == 0,
            Some(told) => told.count == seen.count() && told.digest == seen.finish(),
        };
        if !same {
            self.doubtful.push(span);
        }
    }
}

/// A blob that no row names is nobody's only when it is older than this: until then it may belong to
/// an upload that goes on, or to a repair.
pub fn nobodys_after(session_ttl: Duration) -> Duration {
    session_ttl.saturating_add(UPLOAD_MARGIN)
}

/// What a comparison has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sound blobs that the node holds.
    pub held: u64,
    /// Replicas that the database names on it.
    pub named: u64,
    /// To be thrown away: held for long and named by nothing.
    pub unknown: u64,
    /// To be challenged: named, and not among what the node holds.
    pub missing: u64,
    /// Held for long, named by nothing, and sealed under no key of this network. Left alone.
    pub foreign: u64,
    /// There are more differences than have been looked at.
    pub cut_short: bool,
}

/// Why nothing is done about what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("the database names none of the node's blobs: is it the right one, and whole?")]
    EmptyDatabase,
    #[error(
        "more than 1 % of the node's blobs would be thrown away or challenged: has the database been \
         restored, or the node's disk been exchanged?"
    )]
    TooMuch,
}

impl Findings {
    /// A database that is wrong, empty or old must not throw away what it does not know. What is too
    /// much for a normal day waits for an administrator.
    pub fn doubt(&self) -> Option<Doubt> {
        if self.named == 0 && self.unknown > 0 {
            return Some(Doubt::EmptyDatabase);
        }
        let differing = self.unknown.saturating_add(self.missing);
        let of_all = self.held.max(self.named);
        let too_much = differing > FEW && differing > of_all / 100;
        (too_much || self.cut_short).then_some(Doubt::TooMuch)
    }
}

#[cfg(test)]
mod tests;
