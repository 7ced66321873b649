//! Moving what is left in a segment elsewhere, so that the segment can be removed: only where the file
//! system punches no holes. In small steps, between which stores are served; who asks for them sets the
//! pace.

use jiff::Timestamp;
use proto::BlobId;

use kit::unix_ms;

use super::Writer;
use crate::blob::{Address, BlobState, NewBlob, Row};
use crate::catalogue::CatalogueError;
use crate::layout::{Content, Entry, Part};

/// Bytes on disk that one step moves, but for the last blob.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// The segment that is being emptied.
#[derive(Debug)]
pub(super) struct Victim {
    number: u64,
    /// What is still to be looked at, the last one first.
    entries: Vec<Entry>,
}

impl Writer {
    /// Bytes that were moved; 0 when there is nothing to do.
    pub(super) fn compact(&mut self, at: Timestamp) -> u64 {
        if !self.core.layout.needs_compaction() {
            return 0;
        }
        let Some(mut victim) = self.victim.take().or_else(|| self.choose_victim()) else {
            return 0;
        };
        let mut moving = Vec::new();
        let mut bytes = 0;
        while bytes < STEP_BYTES
            && let Some(entry) = victim.entries.pop()
        {
            bytes += entry.disk_bytes;
            moving.push(entry);
        }
        let moved = self.move_elsewhere(&moving, at);
        if self.note_failure(moved).is_none() {
            return 0; // tried again from the start of the segment
        }
        if victim.entries.is_empty() {
            self.finish(victim.number);
        } else {
            self.victim = Some(victim);
        }
        bytes
    }

    fn choose_victim(&self) -> Option<Victim> {
        let active = self.core.layout.active_segment();
        let wasteful = self.note_failure(self.catalogue.wasteful_segments(active))?;
        let number = wasteful
            .into_iter()
            .find(|number| !self.kept.contains(number))?;
        match self.core.layout.list(Part::Segment(number)) {
            Ok(mut entries) => {
                entries.reverse();
                Some(Victim { number, entries })
            }
            Err(error) => {
                self.core.disk_failed(&error);
                None
            }
        }
    }

    fn move_elsewhere(&mut self, entries: &[Entry], at: Timestamp) -> Result<(), CatalogueError> {
        let mut blobs = Vec::new();
        let mut lost = Vec::new();
        for entry in entries {
            let row = self.catalogue.row(&entry.id)?;
            let Some(row) = row.filter(|row| row.location == entry.location) else {
                continue;
            };
            match self.core.layout.read(&Address::of(&row)) {
                Ok(Content::Whole { data, .. }) => blobs.push(NewBlob {
                    id: row.id,
                    locator: row.locator,
                    stored_at_ms: row.stored_at_ms,
                    data,
                    trashed_at_ms: (row.state == BlobState::Trashed).then_some(row.state_at_ms),
                    deferred_until_ms: row.deferred_until_ms,
                }),
                Ok(Content::Corrupt | Content::Missing) => lost.push(row),
                Err(error) => {
                    self.core.disk_failed(&error);
                }
            }
        }
        if !blobs.is_empty() {
            self.store(&blobs);
        }
        self.give_up(lost, at)
    }

    /// Bytes that have rotted are of no use to anybody.
    fn give_up(&mut self, lost: Vec<Row>, at: Timestamp) -> Result<(), CatalogueError> {
        if lost.is_empty() {
            return Ok(());
        }
        let ids: Vec<BlobId> = lost.iter().map(|row| row.id).collect();
        tracing::error!(?ids, "compaction found blobs that have rotted");
        let addresses: Vec<Address> = lost.iter().map(Address::of).collect();
        self.catalogue.write(|tx| {
            lost.into_iter()
                .try_for_each(|row| tx.upsert(&row.lost(unix_ms(at))))
        })?;
        self.bury(&addresses);
        Ok(())
    }

    fn finish(&mut self, number: u64) {
        self.drop_empty_segments();
        let left = self.catalogue.segments().unwrap_or_default();
        if left.iter().any(|segment| segment.number == number) {
            // Its headers have rotted, or the disk has failed: not to be tried again and again.
            tracing::warn!(
                segment = number,
                "a segment cannot be emptied before the next start"
            );
            self.kept.insert(number);
        }
    }
}
