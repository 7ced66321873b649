//! Wiping records off the disk.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use super::record::{FATE_AT, Fate, HEADER_LEN, Header, span};
use super::{Segments, knows_no_holes, punch};
use crate::blob::Address;
use crate::disk::{with_outcome_of, write_all_at};
use crate::layout::Removed;

impl Segments {
    /// Records that no row points to any more. Their headers are gone afterwards, so that no rebuild
    /// finds them; their bytes too, unless somebody reads them or the file system has no holes.
    pub(super) fn wipe(&self, blobs: &[Address]) -> Vec<io::Result<Removed>> {
        let mut touched = BTreeSet::new();
        let wiped = blobs
            .iter()
            .map(|address| self.wipe_one(address, &mut touched))
            .collect();
        let synced = self.sync(&touched);
        with_outcome_of(wiped, &synced)
    }

    fn wipe_one(&self, address: &Address, touched: &mut BTreeSet<u64>) -> io::Result<Removed> {
        let Some(at) = address.location else {
            return Ok(Removed::Done);
        };
        let Some((file, header)) = self.header(at)? else {
            return Ok(Removed::Done);
        };
        if let Ok(header) = &header
            && header.id != address.id
        {
            tracing::error!(id = %address.id, ?at, found = %header.id, "another blob's record is where one was to be removed; it is kept");
            return Ok(Removed::Done);
        }
        touched.insert(at.segment);
        let in_use = self.pins.is_pinned(at);
        if !in_use && self.punches_holes.load(Ordering::Relaxed) {
            match punch(&file, at.position, span(address.length)) {
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
