//! A byte budget for the whole process. What waits for a share of it waits with its client: the
//! pressure reaches the socket.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Semaphores count in 32 bits, so the budget is kept in units of this many bytes.
const UNIT: u64 = 1024;

#[derive(Debug, Clone)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    total: u32,
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct MemoryShare(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl MemoryBudget {
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits until `bytes` are free. A request for more than there is gets all there is.
    pub async fn reserve(&self, bytes: u64) -> Option<MemoryShare> {
        let units = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.total);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        permit.ok().map(MemoryShare)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_waits_until_it_does() {
        let budget = MemoryBudget::new(10 * 1024);
        let first = budget.reserve(8 * 1024).await;
        let mut second = Box::pin(budget.reserve(4 * 1024));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn more_than_there_is_gets_all_instead_of_waiting_for_ever() {
        let budget = MemoryBudget::new(10 * 1024);
        assert!(budget.reserve(1 << 40).await.is_some());
    }
}
