//! One chunk onto its nodes: place, seal once for each replica, send to all at the same time.
//!
//! Copies are all alike. Of a coded chunk each node gets another piece, and what failed or is late is that piece: it goes to
//! another node, sealed afresh. One that arrives twice is kept once; the other is purged.
//!
//! A node that fails is replaced at once, one that is slower than the fleet's 95th percentile is raced against another;
//! each replacement is sealed afresh. What is on nodes is [`Tentative`] until somebody gives it rows: a store whose
//! outcome is unknown is not a store undone. Repair stores its copies in the same way, beside those that are there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coding::CodingError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::{BlobId, NodeId, Piece, SignedReceipt};
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::blobs::body::ChunkBody;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::get::code_of;
use crate::blobs::metrics::Direction;
use crate::blobs::tentative::Tentative;
use crate::fleet::{Slot, StoreFailure};
use model::chunk::StoredReplica;
use model::node_state::HoldCause;
use model::scheme::Scheme;
use rules::placement;
use rules::placement::{FailureDomains, PlacementError, Rules};
use rules::reputation::Hold;
use sealing::{
    ChunkVersion, DataKey, Located, LocatedPiece, PieceRef, SEALING_OVERHEAD, SealError, SealedBlob,
};

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
    #[error("the chunk cannot be coded: {0}")]
    Coding(#[from] CodingError),
    #[error(transparent)]
    TaskLost(#[from] TaskLost),
}

/// What is sent to nodes of a chunk.
#[derive(Debug, Clone)]
pub enum Parts {
    /// So many copies of the whole.
    Copies(ChunkBody, usize),
    /// These pieces of a coded chunk of `chunk_bytes`, one to each node.
    Pieces {
        chunk_bytes: u32,
        pieces: Vec<(u8, Bytes)>,
    },
}

impl Parts {
    fn count(&self) -> usize {
        match self {
            Self::Copies(_, copies) => *copies,
            Self::Pieces { pieces, .. } => pieces.len(),
        }
    }

    /// Bytes of plaintext in each.
    fn bytes(&self) -> usize {
        match self {
            Self::Copies(body, _) => body.len(),
            Self::Pieces { pieces, .. } => pieces.first().map_or(0, |(_, piece)| piece.len()),
        }
    }
}

/// Where the parts are to go.
#[derive(Debug, Clone)]
pub struct Wanted {
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
    let parts = match key.scheme {
        Scheme::Copies { pieces } => Parts::Copies(body, pieces as usize),
        Scheme::Coded { .. } => encode(blobs, key.scheme, body).await?,
    };
    let wanted = Wanted {
        beside: Vec::new(),
        rules: Rules::Hard,
        timeout: blobs.placement.patience,
    };
    put_beside(blobs, key, place, parts, wanted).await
}

/// All pieces of a chunk.
async fn encode(blobs: &Blobs, scheme: Scheme, body: ChunkBody) -> Result<Parts, StoreChunkError> {
    let chunk_bytes = body.len();
    let encoding = move || code_of(scheme)?.encode(body.pieces());
    let pieces = blobs.crypto.run_over(chunk_bytes, encoding).await??;
    Ok(Parts::Pieces {
        chunk_bytes: chunk_bytes as u32,
        pieces: (0..).zip(pieces).collect(),
    })
}

/// Brings all parts onto other nodes, or fails without fewer, as [`put`] does.
pub async fn put_beside(
    blobs: &Blobs,
    key: &Arc<FileKey>,
    place: ChunkVersion,
    parts: Parts,
    wanted: Wanted,
) -> Result<Tentative, StoreChunkError> {
    let beside: HashSet<NodeId> = wanted.beside.iter().map(|(node, _)| *node).collect();
    let mut round = Round {
        blobs,
        key,
        place,
        parts: Arc::new(parts),
        rules: wanted.rules,
        timeout: wanted.timeout,
        rng: blobs.entropy.rng(),
        tried: beside.clone(),
        beside,
        occupied: wanted.beside,
        under_way: Vec::new(),
        tentative: Tentative::new(blobs.purger.clone()),
    };
    round.run().await?;
    Ok(round.tentative)
}

struct Round<'a> {
    blobs: &'a Blobs,
    key: &'a Arc<FileKey>,
    place: ChunkVersion,
    parts: Arc<Parts>,
    rules: Rules,
    timeout: Duration,
    rng: StdRng,
    /// Nodes that had the chunk before.
    beside: HashSet<NodeId>,
    /// Nodes that have the chunk, are getting it, or failed to take it.
    tried: HashSet<NodeId>,
    /// The domains of those that have it or are getting it.
    occupied: Vec<(NodeId, FailureDomains)>,
    /// Pieces that were sent and have not been answered.
    under_way: Vec<u8>,
    tentative: Tentative,
}

/// A node that failed is asked again, once nobody else is left, after this pause.
const SECOND_CHANCE_PAUSE: Duration = Duration::from_millis(100);

impl<'a> Round<'a> {
    async fn run(&mut self) -> Result<(), StoreChunkError> {
        let wanted = self.parts.count();
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

    /// Seals a copy, or a piece, for each slot and sends it.
    async fn send(
        &mut self,
        slots: Vec<Slot>,
    ) -> Result<Vec<impl Future<Output = Sent> + use<'a>>, StoreChunkError> {
        let count = slots.len();
        let numbers = self.next_pieces(count);
        let (key, parts, place) = (Arc::clone(self.key), Arc::clone(&self.parts), self.place);
        let rng = self.blobs.entropy.rng();
        let to_seal = numbers.clone();
        let sealing = move || seal(&key, place, &parts, &to_seal, rng);
        let sealed = self
            .blobs
            .crypto
            .run_over(self.parts.bytes() * count, sealing);
        let mut sends = Vec::with_capacity(count);
        let sealed = numbers.into_iter().zip(sealed.await??);
        for (slot, (piece, blob)) in slots.into_iter().zip(sealed) {
            let master = self.blobs.keys.master();
            let located = self.located(piece, blob.blob_id)?;
            let locator = master.seal_locator(&located, &mut self.rng)?;
            let (fleet, metrics) = (&self.blobs.fleet, &self.blobs.metrics);
            let (blob_id, length) = (blob.blob_id, blob.data.len());
            self.tentative.sending(slot.member.node_id, blob_id);
            self.under_way.push(piece);
            sends.push(async move {
                let store = fleet.store(&slot, blob, locator);
                let outcome = metrics.transfer(Direction::Store, store, |_| length).await;
                (slot, piece, blob_id, outcome)
            });
        }
        Ok(sends)
    }

    /// Which pieces go next: those that are not there, fewest under way first. Of copies each is number 0.
    fn next_pieces(&self, count: usize) -> Vec<u8> {
        let pieces = match &*self.parts {
            Parts::Copies(..) => return vec![0; count],
            Parts::Pieces { pieces, .. } => pieces.iter().map(|(number, _)| *number),
        };
        let mut missing: Vec<u8> = pieces.filter(|number| !self.has(*number)).collect();
        let tries = |number: &u8| self.under_way.iter().filter(|sent| *sent == number).count();
        missing.sort_by_cached_key(|number| (tries(number), *number));
        missing.truncate(count);
        missing
    }

    fn has(&self, piece: u8) -> bool {
        let mut stored = self.tentative.replicas().iter();
        self.key.scheme.is_coded() && stored.any(|replica| replica.piece == piece)
    }

    fn located(&self, piece: u8, blob: BlobId) -> Result<Located, CodingError> {
        let scheme = self.key.scheme;
        let piece = match scheme {
            Scheme::Copies { .. } => None,
            Scheme::Coded { .. } => Some(numbered(scheme, piece)?),
        };
        Ok(Located {
            place: self.place,
            piece: piece.map(|piece| LocatedPiece::new(piece, blob)),
        })
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
        let is_vetted = |node| fleet.member(node).is_some_and(|member| member.is_vetted());
        let vetted = self.occupied.iter().filter(|(node, _)| is_vetted(*node));
        let vetted_beside = vetted.count();
        let request = placement::Request {
            count,
            scheme: self.key.scheme,
            blob_bytes: (self.parts.bytes() + SEALING_OVERHEAD) as u64,
            distinct_domains: self.blobs.placement.distinct_domains,
            rules: self.rules,
            vetted_beside,
            newcomers_beside: occupied.len() - vetted_beside,
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
    fn note(&mut self, (slot, piece, blob_id, outcome): Sent) -> bool {
        let node_id = slot.member.node_id;
        if let Some(at) = self.under_way.iter().position(|sent| *sent == piece) {
            self.under_way.swap_remove(at);
        }
        match outcome {
            Ok(receipt) => {
                if !slot.member.is_vetted() {
                    let receipts = &self.blobs.receipts;
                    receipts.note_fresh(node_id, blob_id, &mut self.rng);
                }
                // A piece that came twice stays among what is purged.
                if !self.has(piece) {
                    self.tentative.stored(StoredReplica {
                        node_id,
                        blob_id,
                        piece,
                        receipt,
                    });
                }
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
    place: ChunkVersion,
    parts: &Parts,
    numbers: &[u8],
    mut rng: StdRng,
) -> Result<Vec<SealedBlob>, StoreChunkError> {
    let mut seal = |number: u8| -> Result<SealedBlob, StoreChunkError> {
        match parts {
            Parts::Copies(body, _) => {
                Ok(key.data_key.seal(place.chunk, body.pieces(), &mut rng)?)
            }
            Parts::Pieces {
                chunk_bytes,
                pieces,
            } => {
                let piece = pieces.iter().find(|(other, _)| *other == number);
                let (_, text) = piece.ok_or(CodingError::NoSuchPiece(number))?;
                let piece = PieceRef {
                    chunk: place.chunk,
                    piece: numbered(key.scheme, number)?,
                    chunk_bytes: *chunk_bytes,
                };
                Ok(key.data_key.seal_piece(piece, text, &mut rng)?)
            }
        }
    };
    numbers.iter().map(|number| seal(*number)).collect()
}

fn numbered(scheme: Scheme, number: u8) -> Result<Piece, CodingError> {
    let piece = scheme.piece(number);
    piece.map_err(|_| CodingError::NoSuchPiece(number))
}

/// How one store ended, of which piece.
type Sent = (Slot, u8, BlobId, Result<SignedReceipt, StoreFailure>);
