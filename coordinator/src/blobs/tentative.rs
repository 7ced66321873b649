//! Blobs that lie on nodes, or may, and that no row names yet.
//!
//! Between the receipt of a node and the commit of its row lies everything that can go wrong: the client leaves, the
//! database is away, another copy fails. So whoever stores blobs holds them as a [`Tentative`]. Either a transaction
//! gives them rows, after which it is [`settled`](Tentative::settled), or it is dropped, wherever that happens, and
//! one task has its blobs purged. Rejected: lists of blobs handed up by every function that may fail, which the next
//! `?` forgets.

use std::time::Duration;

use crate::database::Pool;
use backon::{ExponentialBuilder, Retryable};
use proto::{BlobId, NodeId};
use tokio::sync::mpsc;

use crate::blobs::tables::purges;
use crate::database::commit_retry::is_passing;
use model::chunk::StoredReplica;

/// A purge of a store whose outcome is unknown waits longer than the store can be under way.
pub const UNKNOWN_OUTCOME_DELAY: Duration = Duration::from_secs(120);

/// Lists of blobs that wait to be written to the outbox.
const QUEUE: usize = 4096;

/// Lists that are written together.
const BATCH: usize = 256;

type Blobs = Vec<(NodeId, BlobId)>;

/// What was sent to nodes for one chunk.
#[derive(Debug)]
pub struct Tentative {
    replicas: Vec<StoredReplica>,
    /// Sent, and neither acknowledged nor surely refused.
    unknown: Blobs,
    purger: Purger,
}

impl Tentative {
    pub(super) const fn new(purger: Purger) -> Self {
        Self::of(Vec::new(), purger)
    }

    /// Of blobs that their nodes have signed for.
    pub const fn of(replicas: Vec<StoredReplica>, purger: Purger) -> Self {
        Self {
            replicas,
            unknown: Vec::new(),
            purger,
        }
    }

    /// Those that their nodes have signed for.
    pub fn replicas(&self) -> &[StoredReplica] {
        &self.replicas
    }

    /// Those that may be on their nodes. A transaction that gives rows to the replicas enqueues purges of these,
    /// delayed by [`UNKNOWN_OUTCOME_DELAY`].
    pub fn unknown(&self) -> &[(NodeId, BlobId)] {
        &self.unknown
    }

    /// Each replica has a row or a purge, each blob of unknown outcome a purge: it is committed.
    pub fn settled(mut self) {
        self.replicas.clear();
        self.unknown.clear();
    }

    pub(super) fn sending(&mut self, node: NodeId, blob: BlobId) {
        self.unknown.push((node, blob));
    }

    pub(super) fn refused(&mut self, node: NodeId, blob: BlobId) {
        self.unknown.retain(|sent| *sent != (node, blob));
    }

    pub(super) fn stored(&mut self, replica: StoredReplica) {
        self.refused(replica.node_id, replica.blob_id);
        self.replicas.push(replica);
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        let replicas = self.replicas.drain(..);
        let stored = replicas.map(|replica| (replica.node_id, replica.blob_id));
        let blobs: Blobs = stored.chain(self.unknown.drain(..)).collect();
        if !blobs.is_empty() {
            self.purger.purge(blobs);
        }
    }
}

/// Has blobs purged that got no row.
#[derive(Debug, Clone)]
pub struct Purger(mpsc::Sender<Blobs>);

/// Blobs that got no row.
pub type Dropped = mpsc::Receiver<Blobs>;

impl Purger {
    pub fn channel() -> (Self, Dropped) {
        let (sender, dropped) = mpsc::channel(QUEUE);
        (Self(sender), dropped)
    }

    fn purge(&self, blobs: Blobs) {
        if let Err(error) = self.0.try_send(blobs) {
            let blobs = error.into_inner().len();
            tracing::warn!(
                blobs,
                "left blobs behind that no row names; reconciling finds them"
            );
        }
    }
}

/// Writes what was dropped to the outbox, until nobody is left who could drop anything. A database that is away is
/// waited for.
pub async fn purge_dropped(pool: Pool, mut dropped: Dropped) {
    let mut batch = Vec::with_capacity(BATCH);
    while dropped.recv_many(&mut batch, BATCH).await > 0 {
        let blobs = batch.concat();
        batch.clear();
        let enqueue = || async {
            let mut connection = pool.acquire().await?;
            purges::enqueue(&mut connection, &blobs, UNKNOWN_OUTCOME_DELAY).await
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times();
        let enqueued = enqueue.retry(pauses).when(is_passing).await;
        if let Err(error) = enqueued {
            let blobs = blobs.len();
            tracing::error!(%error, blobs, "left blobs behind that no row names; reconciling finds them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8) -> (NodeId, BlobId) {
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(n.into()));
        (node, BlobId::from_bytes([n; 32]))
    }

    #[test]
    fn what_is_dropped_is_purged_and_what_was_surely_refused_is_not() {
        let (purger, mut dropped) = Purger::channel();
        let mut tentative = Tentative::new(purger);
        let (sent, refused) = (blob(1), blob(2));
        tentative.sending(sent.0, sent.1);
        tentative.sending(refused.0, refused.1);
        tentative.refused(refused.0, refused.1);
        drop(tentative);
        assert_eq!(dropped.try_recv().unwrap(), [sent]);
    }

    #[test]
    fn what_is_settled_stays() {
        let (purger, mut dropped) = Purger::channel();
        let mut tentative = Tentative::new(purger);
        let (node, id) = blob(1);
        tentative.sending(node, id);
        tentative.settled();
        assert!(dropped.try_recv().is_err());
    }

    #[test]
    fn a_crowd_that_is_dropped_while_nobody_writes_is_bounded() {
        let (purger, dropped) = Purger::channel();
        for _ in 0..2 * QUEUE {
            let mut tentative = Tentative::new(purger.clone());
            let (node, id) = blob(1);
            tentative.sending(node, id);
        }
        assert_eq!(dropped.len(), QUEUE);
    }
}
