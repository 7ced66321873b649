//! A node's blobs against the rows that name them.
//!
//! Digests of large groups first, of small ones where those differ, then the blobs of small groups that
//! differ. Where it comes to single blobs the rows are read *before* the node is asked: a row is written
//! after its blob is durable, so a row that was there and whose blob the node does not list is no upload
//! that overtook us. The other way round, a blob that no row names is taken for unknown only when it is
//! older than any upload.
//!
//! Rejected: to wait until a row is ten minutes old. It needs a time in every row, and clocks that agree.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::database::Pool;
use anyhow::{Result, ensure};
use network::NetworkHandle;
use proto::{
    BlobId, BlobRange, InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest,
    MAX_INVENTORY_ITEMS, NodeId, PeerId,
};

use crate::durability::inventory::ask;
use crate::durability::tables;

use crate::keys::KeyRing;
use rules::inventory::{Comparison, Findings, Span, spans};

/// Blobs in a group, at first and where that differs.
const LARGE: u32 = 1024;
const SMALL: u32 = 32;

/// Ranges in one question.
const RANGES: usize = 64;

/// Ids of rows that are read at once.
const PAGE: usize = 16_384;

/// Questions that a comparison asks at most, beside one for so many blobs that the node has told of: it
/// could go on for ever otherwise.
const QUESTIONS: u64 = 1000;
const BLOBS_PER_QUESTION: u64 = 100;

/// Differences that are remembered; a hundredth of a very large node. With more of them nothing is done
/// anyway.
const REMEMBERED: usize = 100_000;

/// Whom to compare, and with what.
#[derive(Debug, Clone)]
pub struct Sides<'a> {
    pub db: &'a Pool,
    pub keys: &'a KeyRing,
    pub network: &'a NetworkHandle,
    pub node: NodeId,
    pub peer: PeerId,
    /// As many as the node said last that it holds.
    pub blob_count: u64,
    /// A blob that is younger may be on its way into the database.
    pub nobodys_after: Duration,
}

/// How the two sides differ.
#[derive(Debug, Default)]
pub struct Differences {
    pub held: u64,
    pub named: u64,
    pub unknown: Vec<BlobId>,
    pub missing: Vec<BlobId>,
    pub foreign: u64,
    pub cut_short: bool,
    pub questions: u64,
}

impl Differences {
    pub fn findings(&self) -> Findings {
        Findings {
            held: self.held,
            named: self.named,
            unknown: self.unknown.len() as u64,
            missing: self.missing.len() as u64,
            foreign: self.foreign,
            cut_short: self.cut_short,
        }
    }
}

/// Compares everything that the node holds.
pub async fn compare(sides: Sides<'_>) -> Result<Differences> {
    let mut comparing = Comparing {
        sides,
        found: Differences::default(),
    };
    let ask = InventoryAsk::Digests { group: LARGE };
    let mut next = Some(InventoryRequest::new(vec![BlobRange::ALL], ask)?);
    while let Some(request) = next
        && !comparing.found.cut_short
    {
        let answer = comparing.ask(&request).await?;
        let (doubtful, named) = comparing.hold_against_rows(&request, &answer).await?;
        let held = answer.groups.iter().map(|group| u64::from(group.count));
        comparing.found.held += held.sum::<u64>();
        comparing.found.named += named;
        comparing.look_closer(doubtful).await?;
        next = request.rest(answer.resume_from);
    }
    Ok(comparing.found)
}

struct Comparing<'a> {
    sides: Sides<'a>,
    found: Differences,
}

impl Comparing<'_> {
    async fn ask(&mut self, request: &InventoryRequest) -> Result<InventoryAnswer> {
        let limit = QUESTIONS + self.sides.blob_count / BLOBS_PER_QUESTION;
        ensure!(
            self.found.questions < limit,
            "the node does not come to an end: {limit} questions were answered"
        );
        self.found.questions += 1;
        Ok(ask(self.sides.network, self.sides.peer, request).await?)
    }

    /// Spans in which the rows are not what the node has told, and how many rows there are in all.
    async fn hold_against_rows(
        &self,
        request: &InventoryRequest,
        answer: &InventoryAnswer,
    ) -> Result<(Vec<Span>, u64)> {
        let spans = spans(request, answer);
        let mut stretches: Vec<BlobRange> = Vec::new();
        for Span { range, .. } in &spans {
            match stretches.last_mut() {
                Some(before) if before.last.next() == Some(range.first) => before.last = range.last,
                _ => stretches.push(*range),
            }
        }
        let (mut comparison, mut named) = (Comparison::new(spans), 0);
        let mut connection = self.sides.db.acquire().await?;
        for stretch in stretches {
            let mut rest = Some(stretch);
            while let Some(range) = rest {
                let page =
                    tables::inventory::ids(&mut connection, self.sides.node, &range, PAGE).await?;
                page.iter().for_each(|id| comparison.see(id));
                named += page.len() as u64;
                let full = page.len() == PAGE;
                rest = page
                    .last()
                    .filter(|_| full)
                    .and_then(|last| range.behind(last));
            }
        }
        Ok((comparison.finish(), named))
    }

    /// Finds the single blobs in which the spans differ.
    async fn look_closer(&mut self, spans: Vec<Span>) -> Result<()> {
        let is_large = |span: &Span| span.told.is_some_and(|told| told.count > SMALL);
        let (large, mut small): (Vec<_>, Vec<_>) = spans.into_iter().partition(is_large);
        for spans in large.chunks(RANGES) {
            let ranges = spans.iter().map(|span| span.range).collect();
            let ask = InventoryAsk::Digests { group: SMALL };
            let mut next = Some(InventoryRequest::new(ranges, ask)?);
            while let Some(request) = next {
                let answer = self.ask(&request).await?;
                small.extend(self.hold_against_rows(&request, &answer).await?.0);
                next = request.rest(answer.resume_from);
            }
        }
        small.sort_unstable_by_key(|span| span.range.first);
        self.list(small).await
    }

    /// Reads the rows of the spans, then has the node list them, some at a time.
    async fn list(&mut self, spans: Vec<Span>) -> Result<()> {
        let (mut ranges, mut rows) = (Vec::new(), BTreeMap::new());
        for span in spans {
            let mut rest = Some(span.range);
            while let Some(range) = rest {
                let page = self.rows(&range).await?;
                let last = page.last().map(|(id, _)| *id);
                let last = last.filter(|_| page.len() == MAX_INVENTORY_ITEMS);
                ranges.push(BlobRange {
                    last: last.unwrap_or(range.last),
                    ..range
                });
                rest = last.and_then(|last| range.behind(&last));
                rows.extend(page);
                if ranges.len() == RANGES || rows.len() >= MAX_INVENTORY_ITEMS {
                    let (ranges, rows) = (std::mem::take(&mut ranges), std::mem::take(&mut rows));
                    self.hold_against_list(ranges, rows).await?;
                }
                if self.found.cut_short {
                    return Ok(());
                }
            }
        }
        if ranges.is_empty() {
            return Ok(());
        }
        self.hold_against_list(ranges, rows).await
    }

    /// Each with whether it is demoted.
    async fn rows(&self, range: &BlobRange) -> Result<Vec<(BlobId, bool)>> {
        let mut connection = self.sides.db.acquire().await?;
        let limit = MAX_INVENTORY_ITEMS;
        Ok(tables::inventory::replicas(&mut connection, self.sides.node, range, limit).await?)
    }

    async fn hold_against_list(
        &mut self,
        ranges: Vec<BlobRange>,
        mut rows: BTreeMap<BlobId, bool>,
    ) -> Result<()> {
        let mut next = Some(InventoryRequest::new(ranges, InventoryAsk::Items)?);
        while let Some(request) = next
            && !self.found.cut_short
        {
            let answer = self.ask(&request).await?;
            for item in answer.items.iter().filter(|item| !item.trashed) {
                if rows.remove(&item.blob_id).is_none() {
                    self.note_unnamed(item);
                }
            }
            next = request.rest(answer.resume_from);
        }
        if !self.found.cut_short {
            // Of a demoted replica it is known that it may be gone.
            let gone = rows.into_iter().filter(|(_, demoted)| !demoted);
            self.found.missing.extend(gone.map(|(id, _)| id));
            self.found.cut_short = self.found.missing.len() > REMEMBERED;
        }
        Ok(())
    }

    fn note_unnamed(&mut self, item: &InventoryItem) {
        if Duration::from_secs(item.age_s) < self.sides.nobodys_after {
            return;
        }
        if self.sides.keys.open_locator(&item.locator).is_none() {
            self.found.foreign += 1;
        } else if self.found.unknown.len() < REMEMBERED {
            self.found.unknown.push(item.blob_id);
        } else {
            self.found.cut_short = true;
        }
    }
}
