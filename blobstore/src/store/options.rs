//! How a store is to be opened. A program maps its settings to this; the store knows of no settings file.

use std::time::Duration;

use super::brake::Brake;
use crate::layout::LayoutKind;
use crate::segments::SegmentOptions;

/// Disk space that blobs never take: the catalogue needs some to go on working.
pub const DISK_RESERVE: u64 = 64 * 1024 * 1024;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    pub layout: LayoutKind,
    /// The most that blobs may take on disk.
    pub capacity_bytes: u64,
    /// Disk space that blobs never take.
    pub disk_reserve_bytes: u64,
    pub segments: SegmentOptions,
    /// The scrub reads every blob once within this time.
    pub scrub_period: Duration,
    /// How long a blob stays in the trash.
    pub trash_retention: Duration,
    /// What may be removed in a day because somebody orders it. `None`: everything.
    pub brake: Option<Brake>,
}

impl StoreOptions {
    /// With a scrub in 14 days, 7 days in the trash, and no brake.
    pub fn new(layout: LayoutKind, capacity_bytes: u64) -> Self {
        Self {
            layout,
            capacity_bytes,
            disk_reserve_bytes: DISK_RESERVE,
            segments: SegmentOptions::default(),
            scrub_period: 14 * DAY,
            trash_retention: 7 * DAY,
            brake: None,
        }
    }
}
