//! Bringing catalogue and segments together: at every start the little that lies behind the last
//! committed position, and all headers when the catalogue is made anew.
//!
//! What lies behind the committed position was never entered, or its rows went with a power failure:
//! they are not flushed beside the bytes. Whole records there may have been acknowledged and are entered,
//! torn ones, which are of the last batch, are wiped, and the file is cut behind the last whole one. Never
//! more than a batch can have left is cut: if more than that is unreadable, the disk is damaged or the
//! catalogue is an old copy, and the segment is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use jiff::Timestamp;
use proto::BlobId;

use kit::unix_ms;

use super::record::{Fate, HEADER_LEN, span};
use super::scan::{Item, Scan};
use super::{Active, Segments, row_of};
use crate::blob::{Address, BlobState, Row};
use crate::catalogue::{Catalogue, SegmentRow};
use crate::disk::read_exactly_at;
use crate::layout::{Layout, MAX_BATCH_BYTES, ReconcileError, Reconciled, Recovery, Removed};

/// Rows that are entered in one transaction.
const ROWS: usize = 4096;

impl Segments {
    pub(super) fn replay(
        &self,
        catalogue: &mut Catalogue,
        how: Recovery,
        now: Timestamp,
        step: &mut dyn FnMut(),
    ) -> Result<Reconciled, ReconcileError> {
        let known: BTreeMap<u64, SegmentRow> = catalogue
            .segments()?
            .into_iter()
            .map(|segment| (segment.number, segment))
            .collect();
        let on_disk = self.files.numbers()?;
        let newest = on_disk.last().copied();
        let all: BTreeSet<u64> = known.keys().chain(&on_disk).copied().collect();
        let mut done = Reconciled::default();
        let mut active = None;
        for number in all {
            let committed = known.get(&number).map_or(0, |segment| segment.committed);
            let replay = Replay {
                layout: self,
                catalogue: &mut *catalogue,
                number,
                committed,
                how,
                is_newest: Some(number) == newest,
            };
            active = replay.run(now, &mut done)?;
            step();
        }
        self.finish_removals(catalogue)?;
        let mut tail = self.lock_tail();
        let next = newest.map_or(1, |newest| newest + 1);
        tail.next = tail.next.max(next);
        tail.active = active.filter(|active| active.end < self.options.segment_bytes);
        Ok(done)
    }

    /// What a crash has kept from being wiped, and segments that hold nothing.
    fn finish_removals(&self, catalogue: &mut Catalogue) -> Result<(), ReconcileError> {
        let left = catalogue.tombstones()?;
        let outcomes = self.remove(&left);
        let mut wiped = Vec::new();
        for (address, outcome) in left.iter().zip(outcomes) {
            match outcome {
                Ok(Removed::Done) => wiped.extend(address.location),
                Ok(Removed::InUse) => {}
                // The node can serve what it has; the next start tries again.
                Err(error) => {
                    tracing::warn!(id = %address.id, %error, "a removed blob is still on disk");
                }
            }
        }
        Ok(catalogue.write(|tx| tx.clear_tombstones(&wiped))?)
    }
}

struct Replay<'a> {
    layout: &'a Segments,
    catalogue: &'a mut Catalogue,
    number: u64,
    committed: u64,
    how: Recovery,
    is_newest: bool,
}

impl Replay<'_> {
    /// The segment, if it may be appended to.
    fn run(
        mut self,
        now: Timestamp,
        done: &mut Reconciled,
    ) -> Result<Option<Active>, ReconcileError> {
        let Some(file) = self.layout.files.get(self.number)? else {
            self.lose(0, now, done)?;
            return Ok(None);
        };
        let len = file.metadata()?.len();
        if len < self.committed {
            self.lose(len, now, done)?;
            return Ok(None);
        }
        let clean = match len == self.committed {
            true => true,
            false => self.enter_tail(&file, len, done)?,
        };
        let end = file.metadata()?.len();
        if clean && end == 0 {
            self.layout.files.remove(self.number)?;
            return Ok(None);
        }
        Ok(clean.then_some(Active {
            number: self.number,
            file,
            end,
        }))
    }

    /// Records from `from` on are gone from the disk.
    fn lose(
        &mut self,
        from: u64,
        now: Timestamp,
        done: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let number = self.number;
        let lost = self
            .catalogue
            .write(|tx| tx.lose_records(number, from, unix_ms(now)))?;
        if lost > 0 {
            tracing::error!(
                segment = number,
                blobs = lost,
                from,
                "a segment is gone or has been cut: its blobs are lost"
            );
        }
        done.lost += lost;
        Ok(())
    }

    /// Whether the file now ends where its last record does.
    fn enter_tail(
        &mut self,
        file: &File,
        len: u64,
        done: &mut Reconciled,
    ) -> Result<bool, ReconcileError> {
        let check_from = match self.how {
            Recovery::Closed | Recovery::Crashed => 0,
            // From the headers alone, but for what may be torn.
            Recovery::Rebuild if self.is_newest => len.saturating_sub(MAX_TAIL),
            Recovery::Rebuild => len,
        };
        let mut scan = Scan::new(file, self.number, self.committed)?;
        let mut end = self.committed;
        let mut garbage = 0;
        let mut torn = Vec::new();
        let mut rows = Vec::new();
        while let Some(item) = scan.next()? {
            let (at, header) = match item {
                Item::Record { at, header } => (at, header),
                Item::Garbage { bytes } => {
                    garbage += bytes;
                    continue;
                }
            };
            let mut row = row_of(at, &header);
            if header.fate != Fate::Dead {
                let is_whole = at.position < check_from || is_whole(file, &row)?;
                if !is_whole && self.how == Recovery::Rebuild {
                    // Torn or rotten: without the catalogue nobody can tell.
                    row.state = BlobState::Corrupt;
                } else if !is_whole {
                    garbage += row.disk_bytes;
                    torn.push(Address::of(&row));
                    continue;
                }
                rows.push(row);
            }
            end = at.position + span(header.label.length);
            if rows.len() == ROWS {
                self.enter(&mut rows, done)?;
            }
        }
        self.enter(&mut rows, done)?;
        if garbage > MAX_TAIL {
            tracing::error!(
                segment = self.number,
                bytes = garbage,
                "a part of a segment is unreadable, more than a crash can leave: it is kept as it is"
            );
            return Ok(false);
        }
        if garbage > 0 && self.how == Recovery::Rebuild && !self.is_newest {
            tracing::warn!(
                segment = self.number,
                bytes = garbage,
                "a part of a segment is unreadable"
            );
            return Ok(false);
        }
        torn.retain(|address| address.location.is_some_and(|at| at.position < end));
        for outcome in self.layout.remove(&torn) {
            outcome?;
        }
        file.set_len(end)?;
        file.sync_all()?;
        if garbage > 0 {
            tracing::warn!(
                segment = self.number,
                bytes = garbage,
                "dropped what a crash had left half written"
            );
        }
        Ok(true)
    }

    fn enter(&mut self, rows: &mut Vec<Row>, done: &mut Reconciled) -> Result<(), ReconcileError> {
        done.adopted += rows.len() as u64;
        self.catalogue
            .write(|tx| rows.drain(..).try_for_each(|row| tx.upsert(&row)))?;
        Ok(())
    }
}

/// The most that a crash can leave half written: one batch, and the blob that made it full.
const MAX_TAIL: u64 = 2 * MAX_BATCH_BYTES;

fn is_whole(file: &File, row: &Row) -> std::io::Result<bool> {
    let Some(at) = row.location else {
        return Ok(false);
    };
    let start = at.position + HEADER_LEN as u64;
    let bytes = read_exactly_at(file, start, row.length as usize)?;
    Ok(bytes.is_some_and(|bytes| BlobId::of(&bytes) == row.id))
}
