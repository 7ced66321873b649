//! Reads every blob within a period, to find rot before somebody asks for the blob.
//!
//! A cursor over the catalogue, kept in it: a restart goes on where it was. The pace is even over the
//! period and never above a bound, so a scrub cannot be felt by those who use the disk. Rejected: a
//! sweep at full speed every so often, which can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::BlobId;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Store;
use super::catalogue::{BlobState, Row};
use super::layout::Content;
use super::writer::Command;

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
    period: Duration,
    tallies: Arc<Tallies>,
}

impl Scrubber {
    pub fn new(store: Store, period: Duration) -> Self {
        Self {
            store,
            period,
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
        loop {
            let page = self.next_page().await;
            let pause = self.pause(self.store.counts().live.blobs);
            let Some(last) = page.last().map(|row| row.id) else {
                self.tallies.rounds.fetch_add(1, Ordering::Relaxed);
                self.save_cursor(None).await;
                tokio::time::sleep(pause).await;
                continue;
            };
            for row in page {
                if row.state == BlobState::Live {
                    self.check(&row).await;
                    let least = row.length as f64 / MOST_BYTES_PER_SECOND as f64;
                    let pause = pause.max(Duration::from_secs_f64(least));
                    tokio::time::sleep(pause).await;
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

    fn pause(&self, live: u64) -> Duration {
        let even = self.period.as_secs_f64() * SHARE / live.max(1) as f64;
        Duration::from_secs_f64(even).min(LONGEST_PAUSE)
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
