//! What the node does for its coordinators: serves their requests, proves its blobs, reports what it has lost.
//!
//! One task for each request, a bounded number of them; what comes beyond is told that the node is
//! busy. Peers that the network document does not list are not answered at all.

mod deletion;
mod losses;
mod orders;
mod prover;
mod serving;
mod signer;

use std::sync::Arc;

use network::InboundRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::membership::Coordinators;

pub(crate) use deletion::Deleter;
pub(crate) use losses::report as report_losses;
pub(crate) use orders::Orders;
pub(crate) use prover::Prover;
pub(crate) use serving::Service;
pub(crate) use signer::Signer;

/// Requests served at one time.
const MAX_REQUESTS: usize = 64;
/// Bytes of their messages, in units of 4 KiB. What is read for an answer is bounded by the store.
const MAX_REQUEST_UNITS: usize = 64 * 256;
const REQUEST_UNIT: usize = 4096;

pub(crate) struct Agent {
    coordinators: Arc<Coordinators>,
    service: Arc<Service>,
    permits: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Agent {
    /// The tasks of the requests are tracked by `tasks`.
    pub(crate) fn new(
        coordinators: Arc<Coordinators>,
        service: Service,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            coordinators,
            service: Arc::new(service),
            permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
            memory: Arc::new(Semaphore::new(MAX_REQUEST_UNITS)),
            tasks,
        }
    }

    /// Until it is cancelled or the network has stopped. Requests that run by then go on.
    pub(crate) async fn run(
        self,
        mut requests: mpsc::Receiver<InboundRequest>,
        cancel: CancellationToken,
    ) {
        while let Some(Some(request)) = cancel.run_until_cancelled(requests.recv()).await {
            // Nothing is read of strangers: this one was a coordinator when its request came in.
            if !self.coordinators.contains(&request.peer) {
                tracing::warn!(
                    peer = %request.peer,
                    protocol = request.protocol.name,
                    "dropped a request of a peer that is no coordinator of this network"
                );
                continue;
            }
            let (service, coordinators) =
                (Arc::clone(&self.service), Arc::clone(&self.coordinators));
            match self.admit(&request) {
                Some(permits) => self.tasks.spawn(async move {
                    match coordinators.may_be_served(&request.peer).await {
                        true => service.serve(request).await,
                        false => service.say_busy(request).await,
                    }
                    drop(permits);
                }),
                None => self
                    .tasks
                    .spawn(async move { service.say_busy(request).await }),
            };
        }
    }

    /// Room for one more request, and for its bytes. `None` when there is none.
    fn admit(&self, request: &InboundRequest) -> Option<[OwnedSemaphorePermit; 2]> {
        let units = request.payload_len().div_ceil(REQUEST_UNIT) as u32;
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let memory = Arc::clone(&self.memory)
            .try_acquire_many_owned(units)
            .ok()?;
        Some([permit, memory])
    }
}
