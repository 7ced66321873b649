//! Wiping records off the disk.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use super::record::{FATE_AT, Fate, HEADER_LEN, Header, span};
use super::{Segments, knows_no_holes, punch};
use crate::store::disk::{with_outcome_of, write_all_at};
use crate::store::layout::{Place, Removed};

impl Segments {
    /// Records that no row points to any more. Their headers are gone afterwards, so that no rebuild
    /// finds them; their bytes too, unless somebody reads them or the file system has no holes.
    pub(super) fn wipe(&self, blobs: &[Place]) -> Vec<io::Result<Removed>> {
        let mut touched = BTreeSet::new();
        let wiped = blobs
            .iter()
            .map(|place| self.wipe_one(place, &mut touched))
            .collect();
        let synced = self.sync(&touched);
        with_outcome_of(wiped, &synced)
    }

    fn wipe_one(&self, place: &Place, touched: &mut BTreeSet<u64>) -> io::Result<Removed> {
        let Some(at) = place.location else {
            return Ok(Removed::Done);
        };
        let Some((file, header)) = self.header(at)? else {
            return Ok(Removed::Done);
        };
        if let Ok(header) = &header
            && header.id != place.id
        {
            tracing::error!(id = %place.id, ?at, found = %header.id, "another blob's record is where one was to be removed; it is kept");
            return Ok(Removed::Done);
        }
        touched.insert(at.segment);
        let in_use = self.pins.is_pinned(at);
        if !in_use && self.punches_holes.load(Ordering::Relaxed) {
            match punch(&file, at.position, span(place.length)) {
                Ok(()) => return Ok(Removed::Done),
                Err(error) if knows_no_holes(&error) => {
                    self.punches_holes.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        match header {
            Ok(Header {
                fate: Fate::Dead, ..
            }) => {}
            Ok(header) => {
                let fate = Fate::Dead;
                let half = Header { fate, ..header }.encode_fate(at);
                let there = at.position + FATE_AT as u64;
                write_all_at(&file, &mut [IoSlice::new(&half)], there)?;
            }
            Err(_) => write_all_at(&file, &mut [IoSlice::new(&[0; HEADER_LEN])], at.position)?,
        }
        Ok(match in_use {
            true => Removed::InUse,
            false => Removed::Done,
        })
    }
}
