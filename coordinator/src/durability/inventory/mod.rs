//! What a node says that it holds.

pub mod compare;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use network::{CallError, NetworkHandle};
use proto::{
    BlobRange, Inventory, InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest, PeerId,
};

/// Asks one node. What comes back can be an answer to the question; whether it is true is another
/// matter. A node that leaves a question unanswered while it is connected is asked again a few times.
pub async fn ask(
    network: &NetworkHandle,
    peer: PeerId,
    request: &InventoryRequest,
) -> Result<InventoryAnswer, CallError> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_times(3);
    let ask = || async {
        let answer = network.call::<Inventory>(peer, request.clone()).await?;
        request.check(&answer)?;
        Ok::<_, CallError>(answer)
    };
    ask.retry(pauses)
        .when(|error| matches!(error, CallError::Timeout | CallError::Io(_)))
        .await
}

/// Everything that a node holds in a range, trash included, in the order of the ids; a page of at most
/// [`proto::MAX_INVENTORY_ITEMS`] blobs at a time.
pub fn pages(network: &NetworkHandle, peer: PeerId, range: BlobRange) -> Pages {
    Pages {
        network: network.clone(),
        peer,
        next: InventoryRequest::new(vec![range], InventoryAsk::Items).ok(),
    }
}

/// See [`pages`].
pub struct Pages {
    network: NetworkHandle,
    peer: PeerId,
    next: Option<InventoryRequest>,
}

impl Pages {
    /// `None` at the end. A page may be empty. After an error the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<InventoryItem>>, CallError> {
        let Some(request) = &self.next else {
            return Ok(None);
        };
        let answer = ask(&self.network, self.peer, request).await?;
        self.next = request.rest(answer.resume_from);
        Ok(Some(answer.items))
    }
}
