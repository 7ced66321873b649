//! Replicas that a read found missing or damaged are noted for the audit, in batches.

use crate::database::Pool;
use kit::Clock;

use crate::blobs;
use crate::blobs::read_failures::Reported;
use crate::proofs::tables;
use crate::proofs::tables::follow_ups::Ask;

const BATCH: usize = 256;

/// Writes down what is reported, until nobody is left who could.
pub async fn note(pool: Pool, mut reported: Reported, clock: Clock) {
    let mut batch = Vec::with_capacity(BATCH);
    while reported.recv_many(&mut batch, BATCH).await > 0 {
        let write = async {
            let mut connection = pool.acquire().await?;
            blobs::tables::chunks::suspect(&mut connection, &batch).await?;
            let look_at: Vec<_> = batch
                .iter()
                .map(|failure| (failure.node_id, failure.blob_id, failure.reason))
                .collect();
            let now = clock.now();
            tables::follow_ups::look_at(&mut connection, Ask::WholeBlob, &look_at, now).await
        };
        if let Err(error) = write.await {
            tracing::warn!(%error, replicas = batch.len(), "failed reads were not noted");
        }
        batch.clear();
    }
}
