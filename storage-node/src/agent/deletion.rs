//! What coordinators order to be deleted: who ordered it is kept first, then it is done, as far as the brake lets it.

use std::collections::HashMap;

use anyhow::{Context, Result};
use blobstore::{BlobState, Row, Store};
use kit::Clock;
use proto::{
    BlobId, DeleteRequest, Deletion, DeletionMode, DeletionOutcome, DeletionOutcomes, Malformed,
    Parties, PeerId, SignedOrder,
};

use super::orders::Orders;
use super::signer::Signer;

/// Obeys orders to delete.
pub(crate) struct Deleter {
    pub store: Store,
    pub signer: Signer,
    pub orders: Orders,
    pub clock: Clock,
}

impl Deleter {
    /// One outcome for each deletion. What a coordinator has not signed is not obeyed, but for what it wants back:
    /// the node could not show later who had ordered it.
    pub(super) async fn obey(
        &self,
        coordinator: PeerId,
        request: DeleteRequest,
    ) -> Result<DeletionOutcomes, Malformed> {
        if request.deletions.is_empty() {
            return Ok(DeletionOutcomes(Vec::new()));
        }
        let order = request.open(Parties {
            network_id: self.signer.context.network_id,
            coordinator,
            node: self.signer.context.peer_id,
        })?;
        let deletions = request.deletions;
        let refused = match &order {
            None => {
                let taken = deletions
                    .iter()
                    .filter(|deletion| deletion.mode.takes_away());
                let blobs = taken.count();
                if blobs > 0 {
                    tracing::warn!(
                        %coordinator, blobs,
                        "left an order to delete undone that is not signed: its coordinator has to be of this \
                         release, and asks again until then"
                    );
                }
                Refused::Unsigned
            }
            Some(signed) => match self.accept(signed).await {
                Ok(refused) => refused,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(%coordinator, error, "an order to delete cannot be kept, so it is not obeyed");
                    Refused::Unsigned
                }
            },
        };
        let (obeyed, places): (Vec<Deletion>, Vec<usize>) = deletions
            .iter()
            .enumerate()
            .filter(|(_, deletion)| !refused.includes(deletion))
            .map(|(place, deletion)| (*deletion, place))
            .unzip();
        let mut outcomes = vec![DeletionOutcome::Failed; deletions.len()];
        for (place, outcome) in places.into_iter().zip(self.store.delete(obeyed).await) {
            outcomes[place] = outcome;
        }
        self.alarm(coordinator, &outcomes);
        Ok(DeletionOutcomes(outcomes))
    }

    /// Keeps the order, and says which of it is not obeyed.
    async fn accept(&self, signed: &SignedOrder) -> Result<Refused> {
        let order = &signed.order;
        let taken = order.deletions().iter().filter(|d| d.mode.takes_away());
        let taken: Vec<BlobId> = taken.map(|deletion| deletion.blob_id).collect();
        if taken.is_empty() {
            return Ok(Refused::Some(HashMap::new()));
        }
        let rows = self.store.rows(taken.clone()).await?;
        let held = |row: &Row| row.state != BlobState::Lost;
        let rows: HashMap<BlobId, Row> = taken
            .into_iter()
            .zip(rows)
            .filter_map(|(id, row)| Some((id, row.filter(held)?)))
            .collect();
        // The receipt says when the blob was stored. Of an order from before that nobody would believe that it was
        // for this blob, so the node would stand there with nothing to show.
        let (too_early, taken): (HashMap<BlobId, Row>, HashMap<BlobId, Row>) = rows
            .into_iter()
            .partition(|(_, row)| row.stored_at_ms > order.issued_at_ms());
        if let Some((id, row)) = too_early.iter().next() {
            tracing::warn!(
                coordinator = %order.parties().coordinator,
                blobs = too_early.len(), %id, stored_at_ms = row.stored_at_ms, issued_at_ms = order.issued_at_ms(),
                "left blobs undeleted that were stored after the order was given: is a clock wrong?"
            );
        }
        if !taken.is_empty() {
            let blobs = taken.into_keys().collect();
            let kept = self.orders.keep(signed.clone(), blobs, self.clock.now());
            kept.await.context("the order was not written")?;
        }
        Ok(Refused::Some(too_early))
    }

    fn alarm(&self, coordinator: PeerId, outcomes: &[DeletionOutcome]) {
        let deferred = outcomes.iter().filter(|o| **o == DeletionOutcome::Deferred);
        let blobs = deferred.count();
        if blobs > 0 {
            tracing::error!(
                %coordinator, blobs, put_off_in_all = self.store.deferred().held.blobs,
                "a coordinator ordered more to be deleted than this node removes in a day: the rest is in the \
                 trash for 72 h. If the network's administrator did not mean it, \
                 `coordinator admin purges undo` brings it back"
            );
        }
    }
}

/// What of a message is not done.
enum Refused {
    /// All that takes something away.
    Unsigned,
    /// These.
    Some(HashMap<BlobId, Row>),
}

impl Refused {
    fn includes(&self, deletion: &Deletion) -> bool {
        match self {
            Self::Unsigned => deletion.mode.takes_away(),
            Self::Some(blobs) => {
                deletion.mode != DeletionMode::Restore && blobs.contains_key(&deletion.blob_id)
            }
        }
    }
}
