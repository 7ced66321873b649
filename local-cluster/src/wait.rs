//! Waiting for something to become true: poll with growing pauses until a deadline.

use std::time::{Duration, Instant};

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain for {what}", .waited.as_secs())]
pub struct TimedOut {
    pub what: String,
    pub waited: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Asks `condition` again and again until it gives something.
pub async fn wait_for<T>(
    what: impl Into<String>,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if started.elapsed() >= within {
            return Err(TimedOut {
                what: what.into(),
                waited: within,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Like [`wait_for`], on a thread that may block.
pub fn wait_blocking(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    while !condition() {
        if started.elapsed() >= within {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
    true
}
