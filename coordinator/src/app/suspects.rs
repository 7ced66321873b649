//! Replicas that a read found missing or damaged are noted for the audit, in batches and off the
//! reader's path. When more come than can be written, the newest are dropped: another read finds
//! them again.

use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::clock;
use crate::db;
use crate::db::audit_schedule::Ask;
use crate::db::chunks::Suspicion;

const QUEUE: usize = 4096;
const BATCH: usize = 256;

#[derive(Debug, Clone)]
pub struct Suspects(mpsc::Sender<Suspicion>);

impl Suspects {
    pub fn spawn(pool: PgPool) -> Self {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                let write = async {
                    let mut connection = pool.acquire().await?;
                    db::chunks::suspect(&mut connection, &batch).await?;
                    let look_at: Vec<_> = batch
                        .iter()
                        .map(|s| (s.node_id, s.blob_id, s.reason))
                        .collect();
                    db::audit_schedule::look_at(
                        &mut connection,
                        Ask::WholeBlob,
                        &look_at,
                        clock::now(),
                    )
                    .await
                };
                if let Err(error) = write.await {
                    tracing::warn!(%error, replicas = batch.len(), "suspicions were lost");
                }
                batch.clear();
            }
        });
        Self(sender)
    }

    pub fn report(&self, suspicion: Suspicion) {
        tracing::warn!(
            node_id = %suspicion.node_id, blob_id = %suspicion.blob_id, reason = suspicion.reason,
            "a replica could not be read"
        );
        let _ = self.0.try_send(suspicion);
    }
}
