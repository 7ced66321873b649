//! How much the node may hold, and whether one more blob fits.
//!
//! Bytes count from the moment they are accepted: a [`Reservation`] stands for a blob on its way and
//! gives its bytes back when it is dropped, whichever way the store went. Between a commit and that
//! drop a blob counts twice, never not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytesize::ByteSize;

use crate::blob::{Counts, Deferred};
use crate::disk::disk_space;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("the quota has {free} left of {capacity}")]
    Quota { free: ByteSize, capacity: ByteSize },
    #[error("the disk has {free} left, {reserve} of which are kept in reserve")]
    Disk { free: ByteSize, reserve: ByteSize },
}

/// What the node may take, takes and could take, in bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Space {
    pub capacity_bytes: u64,
    /// Blobs with what stands beside them and padding, the trash included.
    pub used_bytes: u64,
    /// On its way.
    pub reserved_bytes: u64,
    /// What would still be accepted.
    pub free_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Quota {
    dir: PathBuf,
    capacity: u64,
    disk_reserve: u64,
    bytes: Mutex<Bytes>,
}

#[derive(Debug, Default)]
struct Bytes {
    counts: Counts,
    deferred: Deferred,
    used: u64,
    reserved: u64,
}

#[derive(Debug)]
pub(super) struct Reservation {
    quota: Arc<Quota>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quota.lock().reserved -= self.bytes;
    }
}

impl Quota {
    /// `dir` is on the disk whose free space counts.
    pub(super) fn new(dir: &Path, capacity: u64, disk_reserve: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            capacity,
            disk_reserve,
            bytes: Mutex::default(),
        }
    }

    /// Sets aside room for a blob that takes so many bytes on disk. The outer error: the disk cannot be
    /// asked.
    pub(super) fn reserve(self: &Arc<Self>, needed: u64) -> io::Result<Result<Reservation, Full>> {
        let (disk_free, _) = disk_space(&self.dir)?;
        let mut bytes = self.lock();
        let free = self.capacity.saturating_sub(bytes.used + bytes.reserved);
        if needed > free {
            return Ok(Err(Full::Quota {
                free: ByteSize(free),
                capacity: ByteSize(self.capacity),
            }));
        }
        if needed + bytes.reserved + self.disk_reserve > disk_free {
            return Ok(Err(Full::Disk {
                free: ByteSize(disk_free),
                reserve: ByteSize(self.disk_reserve),
            }));
        }
        bytes.reserved += needed;
        Ok(Ok(Reservation {
            quota: Arc::clone(self),
            bytes: needed,
        }))
    }

    /// What the catalogue holds after its last change.
    pub(super) fn set_counts(&self, counts: Counts, deferred: Deferred) {
        let mut bytes = self.lock();
        bytes.deferred = deferred;
        bytes.used = counts.on_disk().disk_bytes;
        bytes.counts = counts;
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub(super) fn deferred(&self) -> Deferred {
        self.lock().deferred
    }

    pub(super) fn space(&self) -> io::Result<Space> {
        let (disk_free, disk_total) = disk_space(&self.dir)?;
        let bytes = self.lock();
        let by_quota = self.capacity.saturating_sub(bytes.used + bytes.reserved);
        let by_disk = disk_free.saturating_sub(bytes.reserved + self.disk_reserve);
        Ok(Space {
            capacity_bytes: self.capacity,
            used_bytes: bytes.used,
            reserved_bytes: bytes.reserved,
            free_bytes: by_quota.min(by_disk),
            disk_free_bytes: disk_free,
            disk_total_bytes: disk_total,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Tally;
    use crate::store::options::DISK_RESERVE;

    #[test]
    fn what_is_on_its_way_counts_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(dir.path(), 1000, 0));
        let first = quota.reserve(600).unwrap().unwrap();
        let full = quota.reserve(600).unwrap().unwrap_err();
        assert!(matches!(full, Full::Quota { free, .. } if free.0 == 400));
        drop(first);
        assert!(quota.reserve(600).unwrap().is_ok());
    }

    #[test]
    fn trash_and_corrupt_blobs_take_room_and_lost_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(dir.path(), 10_000, 0));
        let one = |disk_bytes| Tally {
            blobs: 1,
            bytes: disk_bytes - 124,
            disk_bytes,
        };
        let counts = Counts {
            live: one(1000),
            trashed: one(200),
            corrupt: one(130),
            lost: one(124),
        };
        quota.set_counts(counts, Deferred::default());
        assert_eq!(quota.space().unwrap().used_bytes, 1330);
    }

    #[test]
    fn nothing_is_accepted_that_the_disk_has_no_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(dir.path(), u64::MAX / 4, DISK_RESERVE));
        let free = disk_space(dir.path()).unwrap().0;
        let full = quota.reserve(free - DISK_RESERVE + 1).unwrap().unwrap_err();
        assert!(matches!(full, Full::Disk { .. }));
        assert!(quota.space().unwrap().free_bytes <= free - DISK_RESERVE);
    }
}
