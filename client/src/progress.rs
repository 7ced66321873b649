//! How far a transfer has come, for whoever shows it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Called with the bytes that are done and those that there are in all, where that is known.
pub type OnProgress = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Progress {
    total: Option<u64>,
    done: Arc<AtomicU64>,
    tell: Option<OnProgress>,
}

impl Progress {
    pub(crate) fn new(total: Option<u64>, tell: Option<OnProgress>) -> Self {
        let progress = Self {
            total,
            done: Arc::default(),
            tell,
        };
        progress.add(0);
        progress
    }

    pub(crate) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(tell) = &self.tell {
            tell(done, self.total);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({:?} of {:?})", self.done, self.total)
    }
}
