//! Reads every blob within a period, to find rot before somebody asks for the blob.
//!
//! A cursor over the catalogue, kept in it: a restart goes on where it was. The pace is even over the
//! period, so a scrub cannot be felt by those who use the disk; a node that holds little goes no faster
//! than 16 MiB/s from blob to blob, one that holds much as fast as its period asks. Rejected: a sweep
//! at full speed every so often, which can be felt, and a bound for all, which a large node would never
//! come through with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::BlobId;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Store;
use super::writer::Command;
use crate::blob::{BlobState, Row, Tally};
use crate::layout::Content;

const PAGE: u32 = 64;
const MOST_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// A round is planned for this share of the period: a node is not always on.
const SHARE: f64 = 0.8;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Since the program started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScrubStatus {
    pub blobs_read: u64,
    pub bytes_read: u64,
    pub corrupt: u64,
    pub lost: u64,
    pub rounds: u64,
}

#[derive(Debug, Default)]
struct Tallies {
    blobs_read: AtomicU64,
    bytes_read: AtomicU64,
    corrupt: AtomicU64,
    lost: AtomicU64,
    rounds: AtomicU64,
}

/// Cheap to clone; one of the clones runs.
#[derive(Debug, Clone)]
pub struct Scrubber {
    store: Store,
    tallies: Arc<Tallies>,
}

impl Scrubber {
    /// At the pace that the store was opened with.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            tallies: Arc::default(),
        }
    }

    pub fn status(&self) -> ScrubStatus {
        let get = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        ScrubStatus {
            blobs_read: get(&self.tallies.blobs_read),
            bytes_read: get(&self.tallies.bytes_read),
            corrupt: get(&self.tallies.corrupt),
            lost: get(&self.tallies.lost),
            rounds: get(&self.tallies.rounds),
        }
    }

    /// Until it is cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.rounds()).await;
    }

    async fn rounds(&self) {
        let period = self.store.options.scrub_period;
        loop {
            let page = self.next_page().await;
            let live = self.store.counts().live;
            let rest = pause(period, live, 0);
            let Some(last) = page.last().map(|row| row.id) else {
                self.tallies.rounds.fetch_add(1, Ordering::Relaxed);
                self.save_cursor(None).await;
                tokio::time::sleep(rest).await;
                continue;
            };
            for row in page {
                if row.state == BlobState::Live {
                    let began = Instant::now();
                    self.check(&row).await;
                    let next = pause(period, live, row.length);
                    tokio::time::sleep(next.saturating_sub(began.elapsed())).await;
                }
            }
            self.save_cursor(Some(last)).await;
        }
    }

    /// The next rows behind the cursor. An error looks like the end of a round: the next one begins
    /// after a pause.
    async fn next_page(&self) -> Vec<Row> {
        let store = self.store.clone();
        let page = spawn_blocking(move || {
            let readers = &store.core.readers;
            readers.page(readers.scrub_cursor()?.as_ref(), PAGE)
        });
        match page.await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => {
                tracing::error!(%error, "the scrub cannot read the catalogue");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn check(&self, row: &Row) {
        let read = self.store.read(row).await;
        self.tallies.blobs_read.fetch_add(1, Ordering::Relaxed);
        match read {
            Ok(Content::Whole { data, label }) => {
                let bytes = data.len() as u64;
                self.tallies.bytes_read.fetch_add(bytes, Ordering::Relaxed);
                if let Err(error) = label {
                    tracing::warn!(id = %row.id, %error, "the bytes of a blob are whole, but");
                }
            }
            Ok(Content::Corrupt | Content::Missing) => match self.store.inspect(row.id).await {
                Some(BlobState::Corrupt) => {
                    tracing::error!(id = %row.id, "the scrub found a blob that has rotted");
                    self.tallies.corrupt.fetch_add(1, Ordering::Relaxed);
                }
                Some(BlobState::Lost) => {
                    tracing::error!(id = %row.id, "the scrub found that the bytes of a blob are gone");
                    self.tallies.lost.fetch_add(1, Ordering::Relaxed);
                }
                // Deleted, thrown away or stored again meanwhile.
                Some(BlobState::Live | BlobState::Trashed) | None => {}
            },
            Err(error) => {
                tracing::error!(id = %row.id, %error, "the scrub cannot read a blob");
            }
        }
    }

    async fn save_cursor(&self, cursor: Option<BlobId>) {
        let command = Command::SaveScrubCursor(cursor);
        let _ = self.store.commands.send(command).await; // a closed store needs none
    }
}

/// From the beginning of one blob of `length` bytes to that of the next, when so much is held.
fn pause(period: Duration, live: Tally, length: u64) -> Duration {
    let planned = period.as_secs_f64() * SHARE;
    let even = planned / live.blobs.max(1) as f64;
    let rate = (live.bytes as f64 / planned).max(MOST_BYTES_PER_SECOND as f64);
    let least = length as f64 / rate;
    Duration::from_secs_f64(even.min(LONGEST_PAUSE.as_secs_f64()).max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(14 * 24 * 3600);
    const MIB: u64 = 1024 * 1024;

    /// How long a round takes over so many blobs of this length.
    fn round(blobs: u64, length: u64) -> Duration {
        let live = Tally {
            blobs,
            bytes: blobs * length,
            disk_bytes: 0,
        };
        pause(PERIOD, live, length) * u32::try_from(blobs).unwrap()
    }

    #[test]
    fn every_blob_is_read_within_the_period_however_much_is_held() {
        let tib = 1024 * 1024 * MIB;
        for (held, length) in [(0, 1), (MIB, 1000), (tib, MIB / 4), (100 * tib, 4 * MIB)] {
            let blobs = (held / length).max(1);
            assert!(round(blobs, length) <= PERIOD, "{held} bytes");
        }
    }

    #[test]
    fn a_small_node_reads_no_faster_than_its_bound_and_a_large_one_evenly() {
        let second = Duration::from_secs(1);
        let live = Tally {
            blobs: 1_000_000_000,
            bytes: MIB,
            disk_bytes: 0,
        };
        assert!(pause(PERIOD, live, 16 * MIB) >= second);
        assert!(round(4, MIB) <= LONGEST_PAUSE * 4);
        let even = PERIOD.as_secs_f64() * SHARE;
        let large = round(50_000_000, 4 * MIB).as_secs_f64();
        assert!((large / even - 1.0).abs() < 0.01, "{large}");
    }
}
