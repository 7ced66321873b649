//! What repair goes by: whose replicas are to be gone through, which chunks need something, and their replicas.
//!
//! Locks are taken in this order: files and chunks in order of chunk, replicas in order of node and blob,
//! rows of the queue. A scan holds its row of `repair_scans` before all of these, and waits for nobody's chunks; so
//! that whoever holds chunks may schedule scans.

mod chunks;
mod queue;
mod scans;

use proto::{BlobId, NodeId};
use uuid::Uuid;

pub use self::chunks::{
    KeptChunk, SealedChunk, lock_chunks, lock_replicas, ready_chunks, remove_replicas, replicas,
    with_keys,
};
pub use self::queue::{
    PutOff, Queued, Waiting, enqueue_needy, enqueue_whole, finish, put_off, renew, take, waiting,
};
pub use self::scans::{Scan, ScannedPage, lock_scan, scan_page, schedule_scans};
use sealing::ChunkRef;

fn columns(chunks: &[ChunkRef]) -> (Vec<Uuid>, Vec<i32>) {
    let columns = chunks
        .iter()
        .map(|chunk| (chunk.file_id.as_uuid(), chunk.index as i32));
    columns.unzip()
}

fn blob_columns(replicas: &[(NodeId, BlobId)]) -> (Vec<Uuid>, Vec<Vec<u8>>) {
    let columns = replicas
        .iter()
        .map(|(node, blob)| (node.as_uuid(), blob.as_bytes().to_vec()));
    columns.unzip()
}
