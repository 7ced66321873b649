//! Requests of coordinators, turned into calls of the store.
//!
//! One task for each request, a bounded number of them; what comes beyond is told that the node is
//! busy. Peers that the network document does not list are not answered at all.

use std::sync::Arc;

use network::InboundRequest;
use proto::{
    Delete, DeletionOutcome, DeletionOutcomes, Inventory, Malformed, Protocol, Prove, Receipt,
    Refusal, RefusalCode, Retrieve, RetrieveAnswer, RetrieveRequest, Store, StoreAnswer,
    StoreRequest,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::prover::{self, Prover};
use crate::state::State;
use crate::store::{PutError, Read};

/// Requests served at one time.
const MAX_REQUESTS: usize = 64;
/// Bytes of their messages, in units of 4 KiB. What is read for an answer is bounded by the store.
const MAX_REQUEST_UNITS: usize = 64 * 256;
const REQUEST_UNIT: usize = 4096;

pub struct Agent {
    state: Arc<State>,
    prover: Arc<Prover>,
    permits: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Agent {
    /// The tasks of the requests are tracked by `tasks`.
    pub fn new(state: Arc<State>, prover: Prover, tasks: TaskTracker) -> Self {
        Self {
            state,
            prover: Arc::new(prover),
            permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
            memory: Arc::new(Semaphore::new(MAX_REQUEST_UNITS)),
            tasks,
        }
    }

    /// Until it is cancelled or the network has stopped. Requests that run by then go on.
    pub async fn run(
        self,
        mut requests: mpsc::Receiver<InboundRequest>,
        cancel: CancellationToken,
    ) {
        while let Some(Some(request)) = cancel.run_until_cancelled(requests.recv()).await {
            // Nothing is read of strangers: this one was a coordinator when its request came in.
            if !self.state.is_coordinator(&request.peer) {
                tracing::warn!(
                    peer = %request.peer,
                    protocol = request.protocol.name(),
                    "dropped a request of a peer that is no coordinator of this network"
                );
                continue;
            }
            match self.admit(&request) {
                Some(permits) => {
                    let (state, prover) = (Arc::clone(&self.state), Arc::clone(&self.prover));
                    self.tasks.spawn(async move {
                        serve(&state, &prover, request).await;
                        drop(permits);
                    });
                }
                None => {
                    let state = Arc::clone(&self.state);
                    self.tasks
                        .spawn(async move { say_busy(&state, request).await });
                }
            }
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

async fn serve(state: &State, prover: &Prover, mut request: InboundRequest) {
    match request.protocol {
        Protocol::StoreChunk => {
            let answer = match request.decode::<Store>() {
                Ok(store_request) => store(state, store_request).await,
                Err(error) => refuse(RefusalCode::Malformed, error),
            };
            request.respond::<Store>(answer).await;
        }
        Protocol::RetrieveChunk => match request.decode::<Retrieve>() {
            Ok(wanted) => {
                let answer = retrieve(state, wanted).await;
                request.respond::<Retrieve>(answer).await;
            }
            Err(error) => note_malformed(&request, &error),
        },
        Protocol::DeleteChunk => match request.decode::<Delete>() {
            Ok(deletions) => {
                let outcomes = state.store.delete(deletions.0).await;
                request.respond::<Delete>(DeletionOutcomes(outcomes)).await;
            }
            Err(error) => note_malformed(&request, &error),
        },
        Protocol::ProofChallenge => match request.decode::<Prove>() {
            Ok(challenge) => match prover.answer(state, request.peer, challenge).await {
                Ok(answered) => {
                    request.respond::<Prove>(answered.answer).await;
                    for id in answered.doubted {
                        state.store.recheck(id).await;
                    }
                }
                Err(error) => note_malformed(&request, &error),
            },
            Err(error) => note_malformed(&request, &error),
        },
        Protocol::Inventory => match request.decode::<Inventory>() {
            Ok(wanted) => match state.store.inventory(wanted).await {
                Ok(answer) => request.respond::<Inventory>(answer).await,
                Err(error) => tracing::error!(%error, "what the node holds cannot be told"),
            },
            Err(error) => note_malformed(&request, &error),
        },
        other => {
            tracing::warn!(peer = %request.peer, protocol = other.name(), "not served by this version");
        }
    }
}

async fn store(state: &State, request: StoreRequest) -> StoreAnswer {
    if state.is_stopping() {
        return refuse(RefusalCode::Stopping, "the node is shutting down");
    }
    let StoreRequest {
        blob_id,
        locator,
        data,
    } = request;
    let length = data.len() as u64;
    // Whoever leaves takes nothing new, and still signs for what it has.
    let stored = match state.is_draining() {
        true => state.store.confirm(blob_id, data).await,
        false => state.store.put(blob_id, locator, data).await.map(Some),
    };
    let stored_at_ms = match stored {
        Ok(Some(stored_at_ms)) => stored_at_ms,
        Ok(None) => return refuse(RefusalCode::Draining, "the node is leaving the network"),
        Err(error) => {
            tracing::warn!(id = %blob_id, %error, "refused a blob");
            return refuse(refusal_code(&error), &error);
        }
    };
    let receipt = Receipt {
        context: state.context,
        blob_id,
        length,
        stored_at_ms,
    };
    match receipt.sign(&state.keypair) {
        Ok(receipt) => StoreAnswer::Stored(receipt),
        Err(error) => refuse(RefusalCode::IoError, error),
    }
}

fn refusal_code(error: &PutError) -> RefusalCode {
    match error {
        PutError::Full(_) => RefusalCode::Full,
        PutError::HashMismatch => RefusalCode::HashMismatch,
        PutError::BadLength => RefusalCode::Malformed,
        PutError::Io(_) => RefusalCode::IoError,
        PutError::Closed => RefusalCode::Stopping,
    }
}

async fn retrieve(state: &State, request: RetrieveRequest) -> RetrieveAnswer {
    match state.store.get(request.blob_id).await {
        Read::Found(data) => RetrieveAnswer::Found(data),
        Read::Missing => RetrieveAnswer::Missing,
        Read::Corrupt => RetrieveAnswer::Corrupt,
        Read::IoError(error) => {
            tracing::error!(id = %request.blob_id, error, "a blob cannot be read");
            RetrieveAnswer::IoError(error)
        }
    }
}

async fn say_busy(state: &State, mut request: InboundRequest) {
    let detail = "the node serves as many requests as it can";
    match request.protocol {
        Protocol::StoreChunk => {
            let answer = refuse(RefusalCode::Busy, detail);
            request.respond::<Store>(answer).await;
        }
        Protocol::RetrieveChunk => {
            let answer = RetrieveAnswer::Busy(detail.to_owned());
            request.respond::<Retrieve>(answer).await;
        }
        Protocol::DeleteChunk => {
            if let Ok(deletions) = request.decode::<Delete>() {
                let failed = vec![DeletionOutcome::Failed; deletions.0.len()];
                request.respond::<Delete>(DeletionOutcomes(failed)).await;
            }
        }
        Protocol::ProofChallenge => {
            let challenge = request.decode::<Prove>();
            let busy = challenge.and_then(|asked| prover::say_busy(state, request.peer, asked));
            match busy {
                Ok(answer) => request.respond::<Prove>(answer).await,
                Err(error) => note_malformed(&request, &error),
            }
        }
        _ => {}
    }
}

fn refuse(code: RefusalCode, detail: impl ToString) -> StoreAnswer {
    StoreAnswer::Refused(Refusal {
        code,
        detail: detail.to_string(),
    })
}

fn note_malformed(request: &InboundRequest, error: &Malformed) {
    tracing::warn!(peer = %request.peer, protocol = request.protocol.name(), %error, "dropped a request");
}
