//! What a store has to do now and then beside its scrub: empty the trash, and give back the room of
//! removed blobs where the file system cannot do it by itself.
//!
//! Both go in small steps with pauses between them, so that stores need not wait for long and those who use
//! the disk do not feel it. The program runs them beside the store, for as long as it is open.

use std::time::Duration;

use super::Store;

const TRASH_BATCH: u32 = 500;
/// Compaction moves no more than this.
const COMPACTED_BYTES_PER_SECOND: f64 = 16.0 * 1024.0 * 1024.0;
const COMPACTION_PAUSE: Duration = Duration::from_secs(60);

impl Store {
    /// Removes what has been in the trash for the retention that the store was opened with. For ever,
    /// often enough that nothing stays much longer than it should. What is removed cannot be brought back, so it
    /// waits while the clock is not to be trusted.
    pub async fn collect_trash(self, trusts_the_clock: impl Fn() -> bool + Send) {
        let retention = self.options.trash_retention;
        let pause = (retention / 20).clamp(Duration::from_secs(1), Duration::from_secs(600));
        loop {
            if !trusts_the_clock() {
                tokio::time::sleep(pause).await;
                continue;
            }
            let removed = self.empty_trash(retention, TRASH_BATCH).await;
            if removed > 0 {
                tracing::info!(
                    blobs = removed,
                    "removed what was in the trash for long enough"
                );
            }
            if removed < TRASH_BATCH as usize {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Compacts whatever is worth it. For ever.
    pub async fn keep_compact(self) {
        loop {
            tokio::time::sleep(match self.compact().await {
                0 => COMPACTION_PAUSE,
                moved => Duration::from_secs_f64(moved as f64 / COMPACTED_BYTES_PER_SECOND),
            })
            .await;
        }
    }
}
