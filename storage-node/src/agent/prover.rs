//! Answers to challenges: opens the blobs, walks them, signs.
//!
//! A message at a time goes to the disk, its blobs one after another, and all of them together get a
//! set share of the disk's time: what would go beyond is answered `busy`, so that an audit never
//! starves the people who read and write. Blobs are read through a window of bounded size. Rejected:
//! keeping the tree hashes of blobs beside them, which saves a fifth of a millisecond per proof and
//! would let the proof of a rotten blob look sound until its rotten leaf is drawn.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blobstore::{BlobReader, Store};
use proto::{
    BlobId, BlobSource, Challenge, ChallengeRequest, ItemAnswer, ItemOutcome, MAX_CHALLENGE_ITEMS,
    Malformed, Parties, PeerId, ProofAnswer, ProveError, Question, SignedOrder, protocols,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::orders::Orders;
use super::signer::Signer;
use crate::membership::Lifecycle;

/// Messages that are worked on at one time.
const AT_ONE_TIME: usize = 2;

/// How long a message may wait for its turn. A coordinator waits 2 s in all.
const TURN_TIMEOUT: Duration = Duration::from_secs(1);

/// Blobs of up to this size are read at once, larger ones through a window of it.
const WINDOW: usize = 512 * 1024;

pub(crate) struct Prover {
    store: Store,
    signer: Signer,
    orders: Orders,
    lifecycle: Lifecycle,
    turns: Semaphore,
    share: Arc<Mutex<DiskShare>>,
}

/// An answer, and the blobs that are not there or not what they should be: the store looks again.
pub(crate) struct Answered {
    pub answer: ProofAnswer,
    pub doubted: Vec<BlobId>,
}

impl Prover {
    /// `disk_share`: the part of the disk's time that proofs may take, above 0 and at most 1.
    pub(crate) fn new(
        store: Store,
        signer: Signer,
        orders: Orders,
        lifecycle: Lifecycle,
        disk_share: f64,
    ) -> Self {
        Self {
            store,
            signer,
            orders,
            lifecycle,
            turns: Semaphore::new(AT_ONE_TIME),
            share: Arc::new(Mutex::new(DiskShare::new(disk_share, Instant::now()))),
        }
    }

    /// Answers a challenge of this coordinator, or says why it is none.
    pub(crate) async fn answer(
        &self,
        coordinator: PeerId,
        request: ChallengeRequest,
    ) -> Result<Answered, Malformed> {
        let challenge = self.open(coordinator, request)?;
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        if turn.is_err() || self.lifecycle.is_stopping() {
            return self.busy(&challenge);
        }
        let mut opened = Vec::with_capacity(challenge.items().len());
        for question in challenge.questions() {
            let blob = self.store.open_blob(question.blob_id).await;
            opened.push((question, Opened::from(blob)));
        }
        let share = Arc::clone(&self.share);
        let items = spawn_blocking(move || prove_all(opened, &share)).await;
        let items = items.map_err(|_| Malformed("the proofs were lost"))?;
        drop(turn);
        let asked = challenge.items().iter().zip(&items);
        let doubted = asked
            .filter(|(_, answer)| {
                matches!(answer.outcome, ItemOutcome::Corrupt | ItemOutcome::Missing)
            })
            .map(|(item, _)| item.blob_id)
            .collect();
        let missing = challenge.items().iter().zip(&items);
        let missing = missing.filter(|(_, answer)| answer.outcome == ItemOutcome::Missing);
        let missing = missing.map(|(item, _)| item.blob_id).collect();
        let mut answer = ProofAnswer::sign(&challenge, items, &self.signer.keypair)?;
        answer.orders = shown_for(&self.store, &self.orders, missing).await;
        make_fit(&mut answer);
        Ok(Answered { answer, doubted })
    }

    /// The answer of a node that has no time for any of it.
    pub(crate) fn say_busy(
        &self,
        coordinator: PeerId,
        request: ChallengeRequest,
    ) -> Result<ProofAnswer, Malformed> {
        let challenge = self.open(coordinator, request)?;
        self.busy(&challenge).map(|answered| answered.answer)
    }

    fn open(&self, coordinator: PeerId, request: ChallengeRequest) -> Result<Challenge, Malformed> {
        request.open(Parties {
            network_id: self.signer.context.network_id,
            coordinator,
            node: self.signer.context.peer_id,
        })
    }

    fn busy(&self, challenge: &Challenge) -> Result<Answered, Malformed> {
        let item = ItemAnswer {
            outcome: ItemOutcome::Busy,
            duration_ms: 0,
        };
        let items = vec![item; challenge.items().len()];
        Ok(Answered {
            answer: ProofAnswer::sign(challenge, items, &self.signer.keypair)?,
            doubted: Vec::new(),
        })
    }
}

/// Orders that say why these blobs are not here; none for one that the node has, or has lost itself.
pub(super) async fn shown_for(
    store: &Store,
    orders: &Orders,
    missing: Vec<BlobId>,
) -> Vec<SignedOrder> {
    if missing.is_empty() {
        return Vec::new();
    }
    match store.rows(missing.clone()).await {
        Ok(rows) => {
            let gone = missing.into_iter().zip(rows);
            let gone = gone.filter_map(|(id, row)| row.is_none().then_some(id));
            orders.of(gone.collect()).await
        }
        Err(error) => {
            tracing::error!(%error, "the catalogue cannot be read");
            Vec::new()
        }
    }
}

/// An order is long, and a frame is not: those that do not fit beside the proofs are shown the next time.
fn make_fit(answer: &mut ProofAnswer) {
    const OF_A_PROOF: usize = 256;
    const OF_A_BLOB: usize = 33;
    let bodies = answer.items.iter().map(|item| match &item.outcome {
        ItemOutcome::Proven(proof) => proof.body.len() + OF_A_PROOF,
        _ => OF_A_PROOF,
    });
    let mut left = protocols::PROOF_CHALLENGE
        .max_frame_bytes
        .saturating_sub(bodies.sum());
    answer.orders.retain(|signed| {
        let length = signed.order.deletions().len() * OF_A_BLOB + 2 * OF_A_PROOF;
        let fits = length <= left;
        left -= if fits { length } else { 0 };
        fits
    });
    answer.orders.truncate(MAX_CHALLENGE_ITEMS);
}

enum Opened {
    Blob(BlobReader),
    Missing,
    Failed(io::Error),
}

impl From<io::Result<Option<BlobReader>>> for Opened {
    fn from(opened: io::Result<Option<BlobReader>>) -> Self {
        match opened {
            Ok(Some(reader)) => Self::Blob(reader),
            Ok(None) => Self::Missing,
            Err(error) => Self::Failed(error),
        }
    }
}

/// One blob after another. Blocks.
fn prove_all(opened: Vec<(Question, Opened)>, share: &Mutex<DiskShare>) -> Vec<ItemAnswer> {
    let share = || share.lock().unwrap_or_else(PoisonError::into_inner);
    let mut window = Vec::new();
    let mut item = |(question, opened): (Question, Opened)| {
        let began = Instant::now();
        let outcome = match opened {
            Opened::Missing => {
                tracing::error!(id = %question.blob_id, "a challenged blob is not here");
                ItemOutcome::Missing
            }
            Opened::Failed(error) => failed(&question, &error),
            Opened::Blob(_) if !share().has_time(began) => ItemOutcome::Busy,
            Opened::Blob(reader) => {
                let mut blob = Windowed::new(reader, std::mem::take(&mut window));
                let outcome = prove(&question, &mut blob);
                share().spend(blob.spent);
                window = blob.bytes;
                outcome
            }
        };
        ItemAnswer {
            outcome,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    };
    opened.into_iter().map(&mut item).collect()
}

fn prove(question: &Question, blob: &mut Windowed) -> ItemOutcome {
    if blob.reader.len() != question.length {
        return ItemOutcome::Corrupt;
    }
    match proto::prove(question, blob) {
        Ok(proof) => ItemOutcome::Proven(proof),
        Err(ProveError::Source(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            failed(question, &error)
        }
        Err(error) => {
            tracing::error!(id = %question.blob_id, %error, "a challenged blob is damaged");
            ItemOutcome::Corrupt
        }
    }
}

/// A disk that fails now may work later: nothing is admitted that cannot be taken back.
fn failed(question: &Question, error: &io::Error) -> ItemOutcome {
    tracing::error!(id = %question.blob_id, %error, "a challenged blob cannot be read");
    ItemOutcome::Busy
}

/// A blob through a window: the whole of a usual one, and of a large one what was asked for last.
struct Windowed {
    reader: BlobReader,
    /// Only the first `filled` of them are the blob's.
    bytes: Vec<u8>,
    filled: usize,
    begin: u64,
    spent: Duration,
}

impl Windowed {
    /// `bytes` is memory to work in: what stands there is not read.
    fn new(reader: BlobReader, bytes: Vec<u8>) -> Self {
        Self {
            reader,
            bytes,
            filled: 0,
            begin: 0,
            spent: Duration::ZERO,
        }
    }

    /// How much to read for a piece that is not in the window.
    fn fetch_len(&self, offset: u64, len: usize) -> (u64, usize) {
        let whole = self.reader.len();
        if whole <= WINDOW as u64 {
            return (0, whole as usize);
        }
        let end = self.begin + self.filled as u64;
        // From front to end, perhaps past a leaf that was visited: the rest will be asked for next.
        let goes_on = offset.checked_sub(end).is_some_and(|gap| gap <= 1024);
        match goes_on {
            true => (offset, (whole - offset).min(WINDOW as u64) as usize),
            false => (offset, len),
        }
    }
}

impl BlobSource for Windowed {
    type Error = io::Error;

    fn piece(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = self.begin + self.filled as u64;
        if offset < self.begin || offset + len as u64 > end {
            let (begin, fetch) = self.fetch_len(offset, len);
            if self.bytes.len() < fetch {
                self.bytes.resize(fetch, 0);
            }
            self.filled = 0;
            let began = Instant::now();
            let read = self.reader.read_exact_at(&mut self.bytes[..fetch], begin);
            self.spent += began.elapsed();
            read?;
            (self.begin, self.filled) = (begin, fetch);
        }
        let at = (offset - self.begin) as usize;
        let piece = self.bytes[..self.filled].get(at..at + len);
        piece.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Disk time that proofs may take: it comes in at a set rate, and a little can be saved up.
struct DiskShare {
    share: f64,
    /// What may be spent. Below zero after a read that took longer than there was time for.
    saved: f64,
    at: Instant,
}

/// Seconds in which the most comes together that can be saved.
const SAVED_UP: f64 = 4.0;

impl DiskShare {
    fn new(share: f64, now: Instant) -> Self {
        Self {
            share,
            saved: share * SAVED_UP,
            at: now,
        }
    }

    fn has_time(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.saved = (self.saved + passed * self.share).min(self.share * SAVED_UP);
        self.at = now;
        self.saved > 0.0
    }

    fn spend(&mut self, spent: Duration) {
        self.saved -= spent.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_take_their_share_of_the_disks_time_and_no_more() {
        let start = Instant::now();
        let mut share = DiskShare::new(0.25, start);
        let (mut now, mut proofs) = (start, 0_u32);
        let (took, end) = (Duration::from_millis(20), Duration::from_secs(1000));
        while now - start < end {
            if share.has_time(now) {
                share.spend(took);
                proofs += 1;
            }
            now += took;
        }
        let spent = took * proofs;
        assert!(spent >= end / 4, "{spent:?}");
        assert!(
            spent <= end / 4 + Duration::from_secs(1) + took,
            "{spent:?}"
        );
    }

    #[test]
    fn a_long_rest_saves_up_no_more_than_a_moment() {
        let start = Instant::now();
        let mut share = DiskShare::new(0.25, start);
        let later = start + Duration::from_secs(3600);
        assert!(share.has_time(later));
        share.spend(Duration::from_secs(1));
        assert!(!share.has_time(later));
        assert!(share.has_time(later + Duration::from_millis(1)));
    }

    #[test]
    fn one_slow_read_is_paid_off_before_the_next() {
        let start = Instant::now();
        let mut share = DiskShare::new(0.5, start);
        assert!(share.has_time(start));
        share.spend(Duration::from_secs(12));
        assert!(!share.has_time(start + Duration::from_secs(20)));
        assert!(share.has_time(start + Duration::from_secs(21)));
    }
}
