//! Sealing, opening and hashing run on threads of their own, so that no socket waits for them.

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

/// The work was lost: it panicked, which the log tells.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a cryptographic task was lost")]
pub struct TaskLost;

/// Work on so many bytes takes some 20 µs, less than to hand it over and to be woken again.
const FEW_BYTES: usize = 64 * 1024;

pub struct CryptoPool {
    threads: ThreadPool,
}

impl CryptoPool {
    /// One thread for each processor.
    pub fn new() -> anyhow::Result<Self> {
        let threads = ThreadPoolBuilder::new()
            .thread_name(|n| format!("crypto-{n}"))
            .panic_handler(|_| tracing::error!("a cryptographic task panicked"))
            .build()?;
        Ok(Self { threads })
    }

    /// Runs `work`, which goes over so many bytes: on the spot when they are few.
    pub async fn run_over<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskLost> {
        match bytes <= FEW_BYTES {
            true => Ok(work()),
            false => self.run(work).await,
        }
    }

    /// Runs `work`. What waits here is bounded by the memory budgets that its callers hold.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskLost> {
        let (sender, receiver) = oneshot::channel();
        self.threads.spawn(move || {
            let _ = sender.send(work()); // whoever asked may have gone
        });
        receiver.await.map_err(|_| TaskLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        let pool = CryptoPool::new().unwrap();
        assert!(pool.run(|| panic!("boom")).await.is_err());
        assert_eq!(pool.run(|| 1 + 1).await.unwrap(), 2);
    }
}
