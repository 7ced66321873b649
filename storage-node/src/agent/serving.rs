//! Requests of coordinators, turned into calls of the store.

use std::time::Instant;

use blobstore::{PutError, Read, Store};
use network::InboundRequest;
use proto::{
    Delete, DeletionOutcome, DeletionOutcomes, Inventory, Malformed, Prove, Receipt, Refusal,
    RefusalCode, Retrieve, RetrieveAnswer, RetrieveRequest, StoreAnswer, StoreRequest,
};

use super::deletion::Deleter;
use super::orders::Orders;
use super::prover::{Prover, shown_for};
use super::signer::Signer;
use crate::membership::Lifecycle;
use crate::served::{Asked, Direction, Ended, Served};

/// What requests are answered with.
pub(crate) struct Service {
    pub store: Store,
    pub signer: Signer,
    pub lifecycle: Lifecycle,
    pub prover: Prover,
    pub deleter: Deleter,
    pub orders: Orders,
    pub served: Served,
}

impl Service {
    pub(super) async fn serve(&self, request: InboundRequest) {
        let Some(asked) = Asked::of(request.protocol) else {
            tracing::warn!(peer = %request.peer, protocol = request.protocol.name, "not served by this version");
            return;
        };
        let began = Instant::now();
        let ended = self.answer(asked, request).await;
        self.served.request(asked, ended, began.elapsed());
    }

    async fn answer(&self, asked: Asked, mut request: InboundRequest) -> Ended {
        match asked {
            Asked::Store => {
                let answer = match request.decode::<proto::Store>() {
                    Ok(store_request) => self.store(store_request).await,
                    Err(error) => refuse(RefusalCode::Malformed, error),
                };
                let ended = match &answer {
                    StoreAnswer::Stored(_) => Ended::Done,
                    StoreAnswer::Refused(_) => Ended::Refused,
                };
                request.respond::<proto::Store>(answer).await;
                ended
            }
            Asked::Read => match request.decode::<Retrieve>() {
                Ok(wanted) => {
                    let answer = self.retrieve(wanted).await;
                    let ended = match &answer {
                        RetrieveAnswer::Found(_) => Ended::Done,
                        _ => Ended::Refused,
                    };
                    request.respond::<Retrieve>(answer).await;
                    ended
                }
                Err(error) => malformed(&request, &error),
            },
            Asked::Delete => match request.decode::<Delete>() {
                Ok(order) => match self.deleter.obey(request.peer, order).await {
                    Ok(outcomes) => {
                        request.respond::<Delete>(outcomes).await;
                        Ended::Done
                    }
                    Err(error) => malformed(&request, &error),
                },
                Err(error) => malformed(&request, &error),
            },
            Asked::Prove => match request.decode::<Prove>() {
                Ok(challenge) => match self.prover.answer(request.peer, challenge).await {
                    Ok(answered) => {
                        self.served.proof(&answered.answer);
                        request.respond::<Prove>(answered.answer).await;
                        for id in answered.doubted {
                            self.store.recheck(id).await;
                        }
                        Ended::Done
                    }
                    Err(error) => malformed(&request, &error),
                },
                Err(error) => malformed(&request, &error),
            },
            Asked::Inventory => match request.decode::<Inventory>() {
                Ok(wanted) => match self.store.inventory(wanted).await {
                    Ok(answer) => {
                        request.respond::<Inventory>(answer).await;
                        Ended::Done
                    }
                    Err(error) => {
                        tracing::error!(%error, "what the node holds cannot be told");
                        Ended::Refused
                    }
                },
                Err(error) => malformed(&request, &error),
            },
        }
    }

    async fn store(&self, request: StoreRequest) -> StoreAnswer {
        if self.lifecycle.is_stopping() {
            return refuse(RefusalCode::Stopping, "the node is shutting down");
        }
        let StoreRequest {
            blob_id,
            locator,
            request_id,
            data,
        } = request;
        let length = data.len() as u64;
        // Whoever leaves takes nothing new, and still signs for what it has.
        let stored = match self.lifecycle.is_draining() {
            true => self.store.confirm(blob_id, data).await,
            false => self.store.put(blob_id, locator, data).await.map(Some),
        };
        let stored_at_ms = match stored {
            Ok(Some(stored_at_ms)) => stored_at_ms,
            Ok(None) => return refuse(RefusalCode::Draining, "the node is leaving the network"),
            Err(error) => {
                tracing::warn!(id = %blob_id, %request_id, %error, "refused a blob");
                return refuse(refusal_code(&error), &error);
            }
        };
        tracing::debug!(id = %blob_id, %request_id, bytes = length, "stored a blob");
        self.served.blob(Direction::In, length as usize);
        let receipt = Receipt {
            context: self.signer.context,
            blob_id,
            length,
            stored_at_ms,
        };
        match receipt.sign(&self.signer.keypair) {
            Ok(receipt) => StoreAnswer::Stored(receipt),
            Err(error) => refuse(RefusalCode::IoError, error),
        }
    }

    async fn retrieve(&self, request: RetrieveRequest) -> RetrieveAnswer {
        let RetrieveRequest {
            blob_id,
            request_id,
        } = request;
        match self.store.get(blob_id).await {
            Read::Found(data) => {
                tracing::debug!(id = %blob_id, %request_id, bytes = data.len(), "gave a blob");
                self.served.blob(Direction::Out, data.len());
                RetrieveAnswer::Found(data)
            }
            Read::Missing => {
                tracing::warn!(id = %blob_id, %request_id, "asked for a blob that is not here");
                let gone = vec![blob_id];
                let mut orders = shown_for(&self.store, &self.orders, gone).await;
                match orders.pop() {
                    Some(order) => RetrieveAnswer::Ordered(Box::new(order)),
                    None => RetrieveAnswer::Missing,
                }
            }
            Read::Corrupt => {
                tracing::warn!(id = %blob_id, %request_id, "asked for a blob that is corrupt");
                RetrieveAnswer::Corrupt
            }
            Read::IoError(error) => {
                tracing::error!(id = %blob_id, %request_id, error, "a blob cannot be read");
                RetrieveAnswer::IoError(error)
            }
        }
    }

    pub(super) async fn say_busy(&self, mut request: InboundRequest) {
        let Some(asked) = Asked::of(request.protocol) else {
            return;
        };
        let (began, detail) = (Instant::now(), "the node serves as many requests as it can");
        match asked {
            Asked::Store => {
                let answer = refuse(RefusalCode::Busy, detail);
                request.respond::<proto::Store>(answer).await;
            }
            Asked::Read => {
                let answer = RetrieveAnswer::Busy(detail.to_owned());
                request.respond::<Retrieve>(answer).await;
            }
            Asked::Delete => {
                if let Ok(order) = request.decode::<Delete>() {
                    let failed = vec![DeletionOutcome::Failed; order.deletions.len()];
                    request.respond::<Delete>(DeletionOutcomes(failed)).await;
                }
            }
            Asked::Prove => {
                let challenge = request.decode::<Prove>();
                let busy = challenge.and_then(|asked| self.prover.say_busy(request.peer, asked));
                match busy {
                    Ok(answer) => {
                        self.served.proof(&answer);
                        request.respond::<Prove>(answer).await;
                    }
                    Err(error) => {
                        malformed(&request, &error);
                    }
                }
            }
            Asked::Inventory => {}
        }
        self.served.request(asked, Ended::Busy, began.elapsed());
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

fn refuse(code: RefusalCode, detail: impl ToString) -> StoreAnswer {
    StoreAnswer::Refused(Refusal {
        code,
        detail: detail.to_string(),
    })
}

fn malformed(request: &InboundRequest, error: &Malformed) -> Ended {
    tracing::warn!(peer = %request.peer, protocol = request.protocol.name, %error, "dropped a request");
    Ended::Malformed
}
