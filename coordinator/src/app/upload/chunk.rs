//! One chunk onto its nodes: place, seal once for each replica, send to all at the same time.
//!
//! A node that fails is replaced at once, one that is slower than the fleet's 95th percentile is
//! raced against another; each replacement is sealed afresh. What may have been stored in vain is
//! returned to be purged: a store whose outcome is unknown is not a store undone. Repair stores its copies
//! in the same way, beside those that are there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::{BlobId, NodeId, SignedReceipt};
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::body::ChunkBody;
use crate::app::App;
use crate::app::crypto_pool::TaskLost;
use crate::app::fleet::{Slot, StoreFailure};
use crate::clock;
use crate::db::chunks::StoredReplica;
use crate::domain::placement::{self, FailureDomains, PlacementError, Rules};
use crate::domain::sealing::{ChunkRef, DataKey, OpenError, Place, SEALING_OVERHEAD, SealedBlob};

/// What the chunks of one upload share.
#[derive(Debug)]
pub struct FileKey {
    pub data_key: Arc<DataKey>,
    pub replication: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreChunkError {
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error("the chunk cannot be sealed: {0}")]
    Sealing(#[from] OpenError),
    #[error(transparent)]
    TaskLost(#[from] TaskLost),
}

/// Receipts for a chunk, and what was sent in vain.
#[derive(Debug, Default)]
pub struct Receipts {
    pub replicas: Vec<StoredReplica>,
    pub in_vain: Vec<(NodeId, BlobId)>,
}

/// Copies that are to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub copies: usize,
    /// Nodes that have the chunk already, and where they stand.
    pub beside: Vec<(NodeId, FailureDomains)>,
    pub rules: Rules,
    /// How long to wait for nodes that may come back.
    pub patience: Duration,
}

/// Brings `replication` copies of a chunk onto different nodes, or fails without fewer.
///
/// In case of an error the second value tells what has to be purged all the same.
pub async fn store_chunk(
    app: &App,
    key: &Arc<FileKey>,
    place: Place,
    body: ChunkBody,
) -> Result<Receipts, (StoreChunkError, Vec<(NodeId, BlobId)>)> {
    let wanted = Wanted {
        copies: key.replication as usize,
        beside: Vec::new(),
        rules: Rules::Hard,
        patience: app.config.placement.patience,
    };
    store_copies(app, key, place, body, wanted).await
}

/// Brings as many copies onto other nodes as are wanted, or fails without fewer, as [`store_chunk`] does.
pub async fn store_copies(
    app: &App,
    key: &Arc<FileKey>,
    place: Place,
    body: ChunkBody,
    wanted: Wanted,
) -> Result<Receipts, (StoreChunkError, Vec<(NodeId, BlobId)>)> {
    let beside: HashSet<NodeId> = wanted.beside.iter().map(|(node, _)| *node).collect();
    let mut round = Round {
        app,
        key,
        place,
        body: Arc::new(body),
        copies: wanted.copies,
        rules: wanted.rules,
        patience: wanted.patience,
        rng: clock::sendable_rng(),
        tried: beside.clone(),
        beside,
        occupied: wanted.beside,
        sent: Vec::new(),
        replicas: Vec::new(),
    };
    match round.run().await {
        Ok(()) => Ok(Receipts {
            in_vain: round.sent,
            replicas: round.replicas,
        }),
        Err(error) => {
            let stored = round.replicas.iter();
            let mut in_vain: Vec<_> = stored.map(|r| (r.node_id, r.blob_id)).collect();
            in_vain.append(&mut round.sent);
            Err((error, in_vain))
        }
    }
}

struct Round<'a> {
    app: &'a App,
    key: &'a Arc<FileKey>,
    place: Place,
    body: Arc<ChunkBody>,
    copies: usize,
    rules: Rules,
    patience: Duration,
    rng: StdRng,
    /// Nodes that had the chunk before.
    beside: HashSet<NodeId>,
    /// Nodes that have the chunk, are getting it, or failed to take it.
    tried: HashSet<NodeId>,
    /// The domains of those that have it or are getting it.
    occupied: Vec<(NodeId, FailureDomains)>,
    /// Sent, and neither acknowledged nor surely refused.
    sent: Vec<(NodeId, BlobId)>,
    replicas: Vec<StoredReplica>,
}

/// A node that failed is asked again, once nobody else is left, after this pause.
const SECOND_CHANCE_PAUSE: Duration = Duration::from_millis(100);

impl<'a> Round<'a> {
    async fn run(&mut self) -> Result<(), StoreChunkError> {
        let wanted = self.copies;
        let deadline = Instant::now() + self.patience;
        let mut running = FuturesUnordered::new();
        let mut hedge_delay = self.app.fleet.store_hedge_delay();
        let mut hedge_at = Instant::now() + hedge_delay;
        while self.replicas.len() < wanted {
            let late = wanted - self.replicas.len();
            if running.is_empty() {
                // Whether they failed first or last, and the others have taken it since.
                if self.tried.len() > self.beside.len() + self.replicas.len() {
                    self.give_second_chances(deadline).await;
                }
                let patience = deadline.saturating_duration_since(Instant::now());
                let slots = self.slots(late, patience).await?;
                running.extend(self.send(slots).await?);
            }
            let room_for_more = tokio::select! {
                Some(sent) = running.next() => usize::from(!self.note(sent)),
                () = tokio::time::sleep_until(hedge_at) => {
                    hedge_delay *= 2;
                    hedge_at = Instant::now() + hedge_delay;
                    self.app.metrics.hedged_stores.inc_by(late as u64);
                    late
                }
            };
            if !running.is_empty() {
                let slots = self.spare_slots(room_for_more).await;
                running.extend(self.send(slots).await?);
            }
        }
        Ok(())
    }

    /// Seals a copy for each slot and sends it.
    async fn send(
        &mut self,
        slots: Vec<Slot>,
    ) -> Result<Vec<impl Future<Output = Sent> + use<'a>>, StoreChunkError> {
        let (key, body) = (Arc::clone(self.key), Arc::clone(&self.body));
        let (chunk, count) = (self.place.chunk, slots.len());
        let sealing = move || seal(&key, chunk, &body, count);
        let sealed = self.app.crypto.run_over(self.body.len() * count, sealing);
        let mut sends = Vec::with_capacity(count);
        for (slot, blob) in slots.into_iter().zip(sealed.await??) {
            let master = self.app.keys.master();
            let locator = master.seal_locator(&self.place, &mut self.rng)?;
            let (fleet, blob_id) = (&self.app.fleet, blob.blob_id);
            self.sent.push((slot.member.node_id, blob_id));
            sends.push(async move {
                let outcome = fleet.store(&slot, blob, locator).await;
                (slot, blob_id, outcome)
            });
        }
        Ok(sends)
    }

    /// Places on nodes that do not have the chunk.
    async fn slots(
        &mut self,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Slot>, PlacementError> {
        let occupied: Vec<_> = self
            .occupied
            .iter()
            .map(|(_, domains)| domains.clone())
            .collect();
        let request = placement::Request {
            count,
            replication: self.key.replication as usize,
            blob_bytes: (self.body.len() + SEALING_OVERHEAD) as u64,
            distinct_domains: self.app.config.placement.distinct_domains,
            rules: self.rules,
            excluded: &self.tried,
            occupied: &occupied,
        };
        let fleet = &self.app.fleet;
        let slots = fleet
            .place_patiently(&request, &mut self.rng, patience)
            .await?;
        for slot in &slots {
            self.tried.insert(slot.member.node_id);
            self.occupied
                .push((slot.member.node_id, slot.member.domains()));
        }
        Ok(slots)
    }

    /// As many of `count` places as there are right now. Where there are none, the copies that are on
    /// their way may still make it.
    async fn spare_slots(&mut self, count: usize) -> Vec<Slot> {
        for count in (1..=count).rev() {
            if let Ok(slots) = self.slots(count, Duration::ZERO).await {
                return slots;
            }
        }
        Vec::new()
    }

    /// Takes down how a store ended; `true` when it brought a receipt.
    fn note(&mut self, (slot, blob_id, outcome): Sent) -> bool {
        let node_id = slot.member.node_id;
        match outcome {
            Ok(receipt) => {
                self.sent.retain(|sent| *sent != (node_id, blob_id));
                self.replicas.push(StoredReplica {
                    node_id,
                    blob_id,
                    receipt,
                });
                true
            }
            Err(failure) => {
                tracing::debug!(%node_id, %blob_id, %failure, "a store failed");
                self.app.metrics.store_failures.inc();
                self.occupied.retain(|(node, _)| *node != node_id);
                if !failure.outcome_unknown() {
                    self.sent.retain(|sent| *sent != (node_id, blob_id));
                }
                false
            }
        }
    }

    /// Forgets which nodes failed, so that one that is back by now can take the chunk after all.
    async fn give_second_chances(&mut self, deadline: Instant) {
        if Instant::now() + SECOND_CHANCE_PAUSE < deadline {
            tokio::time::sleep(SECOND_CHANCE_PAUSE).await;
            let stored = self.replicas.iter().map(|replica| replica.node_id);
            self.tried = stored.chain(self.beside.iter().copied()).collect();
        }
    }
}

fn seal(
    key: &FileKey,
    chunk: ChunkRef,
    body: &ChunkBody,
    count: usize,
) -> Result<Vec<SealedBlob>, OpenError> {
    let mut rng = clock::rng();
    (0..count)
        .map(|_| key.data_key.seal(chunk, body.pieces(), &mut rng))
        .collect()
}

/// How one store ended.
type Sent = (Slot, BlobId, Result<SignedReceipt, StoreFailure>);
