//! Tells a coordinator what the node has found damaged or gone: by the scrub, by a read, by a proof, by
//! `chunks verify`.
//!
//! The list is the catalogue's, and an entry leaves it when a coordinator has acknowledged it; one
//! coordinator is enough, they share a database. Looked at on a timer, so that it does not matter who
//! found a loss and when. Rejected: to send where a loss is found, which would forget it in a crash.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use blobstore::{BlobState, Store};
use network::NetworkHandle;
use proto::{BlobId, LossReport, MAX_LOSSES_PER_MESSAGE, ReportLoss};
use tokio::task::spawn_blocking;

use crate::membership::Coordinators;

const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// For ever.
pub(crate) async fn report(store: Store, coordinators: Arc<Coordinators>, network: NetworkHandle) {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = match report_some(&store, &coordinators, &network).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => PAUSE,
            Err(error) => {
                let pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
                tracing::warn!(error = format!("{error:#}"), retry_in = ?pause, "a loss was not reported");
                pause
            }
        };
    }
}

/// One message. Whether there may be more to say.
async fn report_some(
    store: &Store,
    coordinators: &Coordinators,
    network: &NetworkHandle,
) -> Result<bool> {
    let Some(coordinator) = coordinators.accepted_by().first().copied() else {
        return Ok(false);
    };
    let reader = store.clone();
    let losses = spawn_blocking(move || reader.losses(MAX_LOSSES_PER_MESSAGE as u32)).await??;
    let Some(&(_, first)) = losses.first() else {
        return Ok(false);
    };
    let alike = losses.into_iter().filter(|(_, found)| *found == first);
    let blob_ids: Vec<BlobId> = alike.map(|(id, _)| id).collect();
    let report = LossReport {
        blob_ids: blob_ids.clone(),
        reason: reason(first).to_owned(),
    };
    let noted = network.call::<ReportLoss>(coordinator, report).await;
    let noted = noted.with_context(|| format!("{} blobs", blob_ids.len()))?;
    let mut known = blob_ids;
    known.truncate(noted.acknowledged as usize);
    ensure!(
        !known.is_empty(),
        "the coordinator acknowledged none of them"
    );
    tracing::warn!(
        blobs = known.len(),
        reason = reason(first),
        "told a coordinator of a loss"
    );
    let noted = store.clear_losses(known).await;
    ensure!(
        noted,
        "the catalogue cannot be written: it will be told again"
    );
    Ok(true)
}

const fn reason(state: BlobState) -> &'static str {
    match state {
        BlobState::Corrupt => "the bytes no longer hash to the blob's id",
        BlobState::Live | BlobState::Trashed | BlobState::Lost => "the bytes are gone",
    }
}
