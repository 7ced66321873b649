//! One chunk, read from whichever of its replicas gives it first; what a download and a repair have in
//! common.
//!
//! Every byte is checked twice, against the blob's name and the chunk's seal. A bad or missing replica is
//! reported and another one used. Replicas that were demoted are tried last: their bytes are checked like
//! all others, so that even those are a source that could be right after all.
//!
//! Of a coded chunk the pieces that hold what is wanted are read, or any k (`pieces`).

mod pieces;
mod replica;

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coding::{Code, CodingError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use self::pieces::PieceReads;
use self::replica::read_replica;
use crate::blobs::Blobs;
use crate::fleet::Fleet;
use model::chunk::{FailedRead, ReplicaLocation};
use model::scheme::Scheme;
use sealing::{ChunkRef, DataKey};

/// No replica of the chunk can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no replica can be read now")]
pub struct Unreadable;

/// A chunk that is stored, as far as a reader has to know it.
#[derive(Debug, Clone, Copy)]
pub struct StoredAs {
    pub chunk: ChunkRef,
    pub scheme: Scheme,
    /// Of its plaintext.
    pub size_bytes: u32,
}

impl StoredAs {
    /// Memory that reading it takes at most: what comes from sockets, and the chunk that is made of it.
    pub fn reading_bytes(&self) -> u64 {
        let size = u64::from(self.size_bytes);
        match self.scheme {
            Scheme::Copies { .. } => size * 2,
            Scheme::Coded { .. } => size * 3,
        }
    }
}

/// The plaintext of a chunk, or this range of it. Nodes that are away are waited for up to `timeout`.
pub async fn read_chunk(
    blobs: &Blobs,
    key: &Arc<DataKey>,
    stored: StoredAs,
    range: Range<u32>,
    replicas: &[ReplicaLocation],
    timeout: Duration,
) -> Result<Bytes, Unreadable> {
    let range =
        range.start.min(stored.size_bytes) as usize..range.end.min(stored.size_bytes) as usize;
    match stored.scheme {
        Scheme::Copies { .. } => {
            let read = || read_once(blobs, key, stored.chunk, replicas);
            let chunk = patiently(timeout, read).await?;
            let end = range.end.min(chunk.len());
            Ok(chunk.slice(range.start.min(end)..end))
        }
        Scheme::Coded { .. } => {
            let (wanted, within) = pieces_of(stored, range.clone());
            let read = read_pieces(blobs, key, stored, &wanted, replicas, timeout).await?;
            let named = |number: &u8| read.iter().find(|(other, _)| other == number);
            let held: Option<Vec<Bytes>> =
                wanted.iter().map(|n| Some(named(n)?.1.clone())).collect();
            match held {
                Some(held) if held.len() == 1 => Ok(held[0].slice(within)),
                Some(held) => Ok(Bytes::from(held.concat()).slice(within)),
                None => {
                    let chunk = decode(blobs, stored, read).await?;
                    Ok(chunk.slice(range))
                }
            }
        }
    }
}

/// Pieces of a coded chunk with their numbers: these, or any that give the chunk back.
pub async fn read_pieces(
    blobs: &Blobs,
    key: &Arc<DataKey>,
    stored: StoredAs,
    wanted: &[u8],
    replicas: &[ReplicaLocation],
    timeout: Duration,
) -> Result<Vec<(u8, Bytes)>, Unreadable> {
    patiently(timeout, || {
        PieceReads::new(blobs, key, stored, wanted, replicas).run()
    })
    .await
}

/// The chunk that these pieces give.
pub async fn decode(
    blobs: &Blobs,
    stored: StoredAs,
    pieces: Vec<(u8, Bytes)>,
) -> Result<Bytes, Unreadable> {
    let decoding = move || {
        let code = code_of(stored.scheme)?;
        code.decode(stored.size_bytes, &pieces)
    };
    let decoded = blobs.crypto.run_over(stored.size_bytes as usize, decoding);
    match decoded.await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => {
            let (file_id, index) = (stored.chunk.file_id, stored.chunk.index);
            tracing::error!(%file_id, index, %error, "pieces of a chunk do not give it");
            Err(Unreadable)
        }
        Err(_) => Err(Unreadable),
    }
}

/// Of a scheme that is one.
pub fn code_of(scheme: Scheme) -> Result<Code, CodingError> {
    Code::new(scheme.needed(), scheme.pieces())
}

/// Pieces of data that hold this range of a chunk, which is not empty, and where in them it lies.
fn pieces_of(stored: StoredAs, range: Range<usize>) -> (Vec<u8>, Range<usize>) {
    let length = (stored.scheme.piece_len(stored.size_bytes.into()) as usize).max(1);
    let (first, last) = (range.start / length, range.end.saturating_sub(1) / length);
    let numbers = (first..=last).map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    let before = first * length;
    (numbers.collect(), range.start - before..range.end - before)
}

/// Again and again until the time is up, as long as waiting may help.
async fn patiently<T, F: Future<Output = Result<T, Failed>>>(
    timeout: Duration,
    mut read: impl FnMut() -> F,
) -> Result<T, Unreadable> {
    let deadline = Instant::now() + timeout;
    loop {
        match read().await {
            Ok(read) => return Ok(read),
            // Nodes come back within seconds, from a restart of theirs or of ours.
            Err(Failed::ForNow) if Instant::now() + ROUND_PAUSE < deadline => {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            Err(_) => return Err(Unreadable),
        }
    }
}

/// Between two rounds through the replicas of a chunk.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// Why a replica, or all of them, gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// Its node is away or busy.
    ForNow,
    /// It is missing or damaged.
    ForGood,
}

/// One round through the replicas of a chunk.
async fn read_once(
    blobs: &Blobs,
    key: &Arc<DataKey>,
    chunk: ChunkRef,
    replicas: &[ReplicaLocation],
) -> Result<Bytes, Failed> {
    let mut untried = by_expected_time(blobs, replicas.to_vec());
    let mut running = FuturesUnordered::new();
    let mut waited_for: Vec<ReplicaLocation> = Vec::new(); // in the order in which they were asked
    let mut failed = Failed::ForGood;
    loop {
        // Each turn asks one more: at first, after a failure, and when nobody has answered in time.
        if let Some(replica) = untried.pop() {
            waited_for.push(replica);
            let key = Arc::clone(key);
            let open = move |data| key.open(chunk, data);
            running.push(async move { (replica, read_replica(blobs, replica, open).await) });
        }
        let hedge_at = Instant::now() + blobs.fleet.read_hedge_delay();
        tokio::select! {
            Some((replica, outcome)) = running.next() => {
                match outcome {
                    Ok(bytes) => {
                        let the_one = |other: &ReplicaLocation| other.node_id == replica.node_id;
                        overtaken(blobs, waited_for.split(the_one).next().unwrap_or_default());
                        return Ok(bytes);
                    }
                    Err(Failed::ForNow) => failed = Failed::ForNow,
                    Err(Failed::ForGood) => {}
                }
                waited_for.retain(|other| other.node_id != replica.node_id);
            }
            () = tokio::time::sleep_until(hedge_at), if !untried.is_empty() => {}
            else => return Err(failed),
        }
    }
}

/// These were asked before the one that has answered. A read does not wait for them to time out, so a
/// node that stays silent would never be found out by reads alone: the audit asks it for the whole blob.
fn overtaken(blobs: &Blobs, replicas: &[ReplicaLocation]) {
    for replica in replicas {
        let member = blobs.fleet.member(replica.node_id);
        if member.is_some_and(|member| member.note_overtaken()) {
            blobs.read_failures.report(FailedRead {
                node_id: replica.node_id,
                blob_id: replica.blob_id,
                reason: "left reads unanswered",
            });
        }
    }
}

/// Best last: demoted replicas before all, then suspects, then nodes that are away or lag, then by
/// expected time. No replica is left out: what it gives is checked, and it may be the last one.
fn by_expected_time(blobs: &Blobs, mut replicas: Vec<ReplicaLocation>) -> Vec<ReplicaLocation> {
    replicas.sort_by_cached_key(|replica| Reverse(rank(replica, cost_of(&blobs.fleet, replica))));
    replicas
}

/// Of a read; nodes that are away or lag are beyond all others.
fn cost_of(fleet: &Fleet, replica: &ReplicaLocation) -> u64 {
    let member = fleet.member(replica.node_id);
    member
        .filter(|member| member.is_online() && !member.is_lagging())
        .map_or(u64::MAX, |member| member.read_cost())
}

/// The least is asked first.
fn rank(replica: &ReplicaLocation, cost: u64) -> (bool, bool, u64) {
    (replica.demoted, replica.suspect, cost)
}

#[cfg(test)]
mod tests {
    use proto::BlobId;

    use super::*;
    use model::ids::FileId;

    #[test]
    fn a_demoted_replica_is_asked_last_and_a_suspect_before_it() {
        let replica = |demoted, suspect| ReplicaLocation {
            node_id: proto::NodeId::from_bytes([1; 16]),
            blob_id: BlobId::of(b""),
            piece: 0,
            suspect,
            demoted,
        };
        let mut ranks = [
            rank(&replica(true, false), 1),
            rank(&replica(false, true), 2),
            rank(&replica(false, false), u64::MAX),
            rank(&replica(false, false), 3),
        ];
        ranks.sort_unstable();
        assert_eq!(ranks.map(|(.., cost)| cost), [3, u64::MAX, 2, 1]);
    }

    #[test]
    fn a_range_takes_the_pieces_that_hold_it() {
        let stored = |size_bytes| StoredAs {
            chunk: ChunkRef {
                file_id: FileId::from_bytes([1; 16]),
                index: 0,
            },
            scheme: Scheme::coded(8, 12).unwrap(),
            size_bytes,
        };
        // Pieces of 100 bytes.
        assert_eq!(pieces_of(stored(800), 0..800), ((0..8).collect(), 0..800));
        assert_eq!(pieces_of(stored(800), 250..300), (vec![2], 50..100));
        assert_eq!(pieces_of(stored(800), 299..301), (vec![2, 3], 99..101));
        assert_eq!(
            pieces_of(stored(1), 0..1),
            (vec![0], 0..1),
            "the others are padding"
        );
    }
}
