//! One chunk onto its nodes: place, seal once for each replica, send to all at the same time.
//!
//! A node that fails is replaced at once, one that is slower than the fleet's 95th percentile is raced against another;
//! each replacement is sealed afresh. What is on nodes is [`Tentative`] until somebody gives it rows: a store whose
//! outcome is unknown is not a store undone. Repair stores its copies in the same way, beside those that are there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::{BlobId, NodeId, SignedReceipt};
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::metrics::Direction;
use crate::blobs::tentative::Tentative;
use crate::fleet::{Slot, StoreFailure};
use model::chunk::StoredReplica;
use model::node_state::HoldCause;
use model::scheme::Scheme;
use rules::placement;
use rules::placement::{FailureDomains, PlacementError, Rules};
use rules::reputation::Hold;
use sealing::{ChunkRef, ChunkVersion, DataKey, SEALING_OVERHEAD, SealError, SealedBlob};

/// What the chunks of one upload share.
#[derive(Debug)]
pub struct FileKey {
    pub data_key: Arc<DataKey>,
    pub scheme: Scheme,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreChunkError {
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error("the chunk cannot be sealed: {0}")]
    Sealing(#[from] SealError),
    #[error(transparent)]
    TaskLost(#[from] TaskLost),
}

/// Copies that are to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub copies: usize,
    /// Nodes that have the chunk already, and where they stand.
    pub beside: Vec<(NodeId, FailureDomains)>,
    pub rules: Rules,
    /// How long to wait for nodes that may come back.
    pub timeout: Duration,
}

/// Brings all pieces of a chunk onto different nodes, or fails without fewer. What was stored all the same when it
/// fails, or when whoever waits gives up, is purged.
pub async fn put(
    blobs: &Blobs,
    key: &Arc<FileKey>,
    place: ChunkVersion,
    body: ChunkBody,
) -> Result<Tentative, StoreChunkError> {
    let wanted = Wanted {
        copies: key.scheme.pieces() as usize,
        beside: Vec::new(),
        rules: Rules::Hard,
        timeout: blobs.placement.patience,
    };
    put_beside(blobs, key, place, body, wanted).await
}

/// Brings as many copies onto other nodes as are wanted, or fails without fewer, as [`put`] does.
pub async fn put_beside(
    blobs: &Blobs,
    key: &Arc<FileKey>,
    place: ChunkVersion,
    body: ChunkBody,
    wanted: Wanted,
) -> Result<Tentative, StoreChunkError> {
    let beside: HashSet<NodeId> = wanted.beside.iter().map(|(node, _)| *node).collect();
    let mut round = Round {
        blobs,
        key,
        place,
        body: Arc::new(body),
        copies: wanted.copies,
        rules: wanted.rules,
        timeout: wanted.timeout,
        rng: blobs.entropy.rng(),
        tried: beside.clone(),
        beside,
        occupied: wanted.beside,
        tentative: Tentative::new(blobs.purger.clone()),
    };
    round.run().await?;
    Ok(round.tentative)
}

struct Round<'a> {
    blobs: &'a Blobs,
    key: &'a Arc<FileKey>,
    place: ChunkVersion,
    body: Arc<ChunkBody>,
    copies: usize,
    rules: Rules,
    timeout: Duration,
    rng: StdRng,
    /// Nodes that had the chunk before.
    beside: HashSet<NodeId>,
    /// Nodes that have the chunk, are getting it, or failed to take it.
    tried: HashSet<NodeId>,
    /// The domains of those that have it or are getting it.
    occupied: Vec<(NodeId, FailureDomains)>,
    tentative: Tentative,
}

/// A node that failed is asked again, once nobody else is left, after this pause.
const SECOND_CHANCE_PAUSE: Duration = Duration::from_millis(100);

impl<'a> Round<'a> {
    async fn run(&mut self) -> Result<(), StoreChunkError> {
        let wanted = self.copies;
        let deadline = Instant::now() + self.timeout;
        let mut running = FuturesUnordered::new();
        let mut hedge_delay = self.blobs.fleet.store_hedge_delay();
        let mut hedge_at = Instant::now() + hedge_delay;
        while self.tentative.replicas().len() < wanted {
            let late = wanted - self.tentative.replicas().len();
            if running.is_empty() {
                // Whether they failed first or last, and the others have taken it since.
                if self.tried.len() > self.beside.len() + self.tentative.replicas().len() {
                    self.give_second_chances(deadline).await;
                }
                let timeout = deadline.saturating_duration_since(Instant::now());
                let slots = self.slots(late, timeout).await?;
                running.extend(self.send(slots).await?);
            }
            let room_for_more = tokio::select! {
                Some(sent) = running.next() => usize::from(!self.note(sent)),
                () = tokio::time::sleep_until(hedge_at) => {
                    hedge_delay *= 2;
                    hedge_at = Instant::now() + hedge_delay;
                    self.blobs.metrics.hedged_stores.inc_by(late as u64);
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
        let rng = self.blobs.entropy.rng();
        let sealing = move || seal(&key, chunk, &body, count, rng);
        let sealed = self.blobs.crypto.run_over(self.body.len() * count, sealing);
        let mut sends = Vec::with_capacity(count);
        for (slot, blob) in slots.into_iter().zip(sealed.await??) {
            let master = self.blobs.keys.master();
            let locator = master.seal_locator(&self.place, &mut self.rng)?;
            let (fleet, metrics) = (&self.blobs.fleet, &self.blobs.metrics);
            let (blob_id, length) = (blob.blob_id, blob.data.len());
            self.tentative.sending(slot.member.node_id, blob_id);
            sends.push(async move {
                let store = fleet.store(&slot, blob, locator);
                let outcome = metrics.transfer(Direction::Store, store, |_| length).await;
                (slot, blob_id, outcome)
            });
        }
        Ok(sends)
    }

    /// Places on nodes that do not have the chunk.
    async fn slots(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Slot>, PlacementError> {
        let fleet = &self.blobs.fleet;
        let occupied: Vec<_> = self
            .occupied
            .iter()
            .map(|(_, domains)| domains.clone())
            .collect();
        let request = placement::Request {
            count,
            scheme: self.key.scheme,
            blob_bytes: (self.body.len() + SEALING_OVERHEAD) as u64,
            distinct_domains: self.blobs.placement.distinct_domains,
            rules: self.rules,
            vetted_beside: self
                .occupied
                .iter()
                .any(|(node, _)| fleet.member(*node).is_some_and(|member| member.is_vetted())),
            excluded: &self.tried,
            occupied: &occupied,
        };
        let slots = fleet.place_within(&request, &mut self.rng, timeout).await?;
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
                if !slot.member.is_vetted() {
                    let receipts = &self.blobs.receipts;
                    receipts.note_fresh(node_id, blob_id, &mut self.rng);
                }
                self.tentative.stored(StoredReplica {
                    node_id,
                    blob_id,
                    receipt,
                });
                true
            }
            Err(failure) => {
                tracing::debug!(%node_id, %blob_id, %failure, "a store failed");
                self.blobs.metrics.store_failures.inc();
                if matches!(failure, StoreFailure::ForgedReceipt) {
                    slot.member.hold(Hold::Other(HoldCause::Receipts));
                    self.blobs.receipts.note_forged(node_id);
                }
                self.occupied.retain(|(node, _)| *node != node_id);
                if !failure.outcome_unknown() {
                    self.tentative.refused(node_id, blob_id);
                }
                false
            }
        }
    }

    /// Forgets which nodes failed, so that one that is back by now can take the chunk after all.
    async fn give_second_chances(&mut self, deadline: Instant) {
        if Instant::now() + SECOND_CHANCE_PAUSE < deadline {
            tokio::time::sleep(SECOND_CHANCE_PAUSE).await;
            let stored = self
                .tentative
                .replicas()
                .iter()
                .map(|replica| replica.node_id);
            self.tried = stored.chain(self.beside.iter().copied()).collect();
        }
    }
}

fn seal(
    key: &FileKey,
    chunk: ChunkRef,
    body: &ChunkBody,
    count: usize,
    mut rng: StdRng,
) -> Result<Vec<SealedBlob>, SealError> {
    (0..count)
        .map(|_| key.data_key.seal(chunk, body.pieces(), &mut rng))
        .collect()
}

/// How one store ended.
type Sent = (Slot, BlobId, Result<SignedReceipt, StoreFailure>);
