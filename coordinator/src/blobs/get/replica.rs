//! One replica: its node asked, its bytes checked against the blob's name and against the seal, its failure reported.

use bytes::{Bytes, BytesMut};
use network::CallError;
use proto::BlobId;

use super::Failed;
use crate::blobs::Blobs;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::metrics::Direction;
use crate::fleet::ReadFailure;
use model::chunk::{FailedRead, ReplicaLocation};
use sealing::OpenError;

/// What a replica holds, opened by `open`, or its failure dealt with.
pub(super) async fn read_replica(
    blobs: &Blobs,
    replica: ReplicaLocation,
    open: impl FnOnce(BytesMut) -> Result<Bytes, OpenError> + Send + 'static,
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
    let length = data.len();
    let opening = move || open_blob(replica.blob_id, data, open);
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
    blob_id: BlobId,
    data: Bytes,
    open: impl FnOnce(BytesMut) -> Result<Bytes, OpenError>,
) -> Result<Bytes, &'static str> {
    if BlobId::of(&data) != blob_id {
        return Err("wrong bytes");
    }
    // The frame has no other owner any more, so this is no copy; if it has, a copy is right.
    let data = data
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    open(data).map_err(|OpenError| "not this chunk")
}

#[cfg(test)]
mod tests {
    use proto::{Message, RetrieveAnswer};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use sealing::{ChunkRef, DataKey};

    use super::*;
    use model::ids::FileId;

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
        let opened = open_blob(blob.blob_id, data, |data| key.open(chunk, data)).unwrap();
        assert_eq!(opened, text);
        assert!(memory.contains(&opened.as_ptr()));
    }
}
