//! One chunk, read from whichever of its replicas gives it first; what a download and a repair have in
//! common.
//!
//! Every byte is checked twice, against the blob's name and the chunk's seal. A bad or missing replica is
//! reported and another one used. Replicas that were demoted are tried last: their bytes are checked like
//! all others, so that even those are a source that could be right after all.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use network::CallError;
use proto::BlobId;
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::metrics::Direction;
use crate::fleet::ReadFailure;
use model::chunk::{FailedRead, ReplicaLocation};
use sealing::{ChunkRef, DataKey, OpenError};

/// No replica of the chunk can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no replica can be read now")]
pub struct Unreadable;

/// The plaintext of a chunk. Nodes that are away are waited for up to `timeout`.
pub async fn read_chunk(
    blobs: &Blobs,
    key: &Arc<DataKey>,
    chunk: ChunkRef,
    replicas: &[ReplicaLocation],
    timeout: Duration,
) -> Result<Bytes, Unreadable> {
    let deadline = Instant::now() + timeout;
    loop {
        match read_once(blobs, key, chunk, replicas).await {
            Ok(bytes) => return Ok(bytes),
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
            running.push(async move { (replica, read_replica(blobs, key, chunk, replica).await) });
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
    replicas.sort_by_cached_key(|replica| {
        let cost = blobs
            .fleet
            .member(replica.node_id)
            .filter(|member| member.is_online() && !member.is_lagging())
            .map_or(u64::MAX, |member| member.read_cost());
        Reverse(rank(replica, cost))
    });
    replicas
}

/// The least is asked first.
fn rank(replica: &ReplicaLocation, cost: u64) -> (bool, bool, u64) {
    (replica.demoted, replica.suspect, cost)
}

/// A replica's plaintext, or its failure dealt with.
async fn read_replica(
    blobs: &Blobs,
    key: &Arc<DataKey>,
    chunk: ChunkRef,
    replica: ReplicaLocation,
) -> Result<Bytes, Failed> {
    let suspect = |reason| {
        blobs.metrics.bad_replicas.inc();
        blobs.read_failures.report(FailedRead {
            node_id: replica.node_id,
            blob_id: replica.blob_id,
            reason,
        });
    };
    let read = blobs.fleet.retrieve(replica.node_id, replica.blob_id);
    let read = blobs.metrics.transfer(Direction::Read, read, Bytes::len);
    let data = match read.await {
        Ok(data) => data,
        Err(failure) => {
            tracing::debug!(node_id = %replica.node_id, %failure, "a read failed");
            match failure {
                ReadFailure::Missing | ReadFailure::Ordered(_) => suspect("missing"),
                ReadFailure::Corrupt => suspect("corrupt"),
                // The audit asks for the whole blob: whoever proves and then refuses is found out.
                ReadFailure::Later(_) | ReadFailure::Call(CallError::Timeout) => {
                    suspect("refused or timed out");
                    return Err(Failed::ForNow);
                }
                ReadFailure::Offline | ReadFailure::Call(_) => return Err(Failed::ForNow),
            }
            return Err(Failed::ForGood);
        }
    };
    let key = Arc::clone(key);
    let length = data.len();
    let opening = move || open_blob(&key, chunk, replica.blob_id, data);
    match blobs.crypto.run_over(length, opening).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(reason)) => {
            suspect(reason);
            Err(Failed::ForGood)
        }
        Err(TaskLost) => Err(Failed::ForNow),
    }
}

/// Checks the name, then the seal; the plaintext lies where the blob lay.
fn open_blob(
    key: &DataKey,
    chunk: ChunkRef,
    blob_id: BlobId,
    data: Bytes,
) -> Result<Bytes, &'static str> {
    if BlobId::of(&data) != blob_id {
        return Err("wrong bytes");
    }
    // The frame has no other owner any more, so this is no copy; if it has, a copy is right.
    let data = data
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    key.open(chunk, data).map_err(|OpenError| "not this chunk")
}

#[cfg(test)]
mod tests {
    use proto::{Message, RetrieveAnswer};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use model::ids::FileId;

    #[test]
    fn a_demoted_replica_is_asked_last_and_a_suspect_before_it() {
        let replica = |demoted, suspect| ReplicaLocation {
            node_id: proto::NodeId::from_bytes([1; 16]),
            blob_id: BlobId::of(b""),
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
    fn a_chunk_is_opened_in_the_memory_that_its_frame_came_in() {
        let mut rng = StdRng::seed_from_u64(7);
        let key = DataKey::generate(sealing::Sealing::V2, &mut rng).unwrap();
        let chunk = ChunkRef {
            file_id: FileId::from_bytes([1; 16]),
            index: 0,
        };
        let text = Bytes::from(vec![7; 100_000]);
        let blob = key.seal(chunk, std::slice::from_ref(&text), &mut rng);
        let blob = blob.unwrap();
        let frame = RetrieveAnswer::Found(blob.data).into_frame().to_bytes();
        let received = BytesMut::from(&frame[..]).freeze();
        let memory = received.as_ptr_range();

        let RetrieveAnswer::Found(data) = RetrieveAnswer::from_bytes(received).unwrap() else {
            unreachable!("the frame has a blob")
        };
        let opened = open_blob(&key, chunk, blob.blob_id, data).unwrap();
        assert_eq!(opened, text);
        assert!(memory.contains(&opened.as_ptr()));
    }
}
