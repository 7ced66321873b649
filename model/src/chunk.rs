//! A chunk and its replicas.

use proto::{BlobId, FileId, NodeId, SignedReceipt};

/// A chunk whose replicas all have their receipts.
#[derive(Debug, Clone)]
pub struct StoredChunk {
    pub file_id: FileId,
    pub index: u32,
    pub version: u64,
    pub size_bytes: u32,
    /// Of the plaintext.
    pub sha256: [u8; 32],
    pub replicas: Vec<StoredReplica>,
}

impl StoredChunk {
    /// What stands on nodes for it.
    pub fn blobs(&self) -> impl Iterator<Item = (NodeId, BlobId)> {
        self.replicas.iter().map(|r| (r.node_id, r.blob_id))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct StoredReplica {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    /// Which piece of its chunk: 0 of a copy.
    pub piece: u8,
    pub receipt: SignedReceipt,
}

/// Where the replicas of one chunk are.
#[derive(Debug, Clone)]
pub struct ChunkLocations {
    pub index: u32,
    pub size_bytes: u32,
    pub replicas: Vec<ReplicaLocation>,
}

#[derive(Debug, Clone, Copy)]
pub struct ReplicaLocation {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    /// Which piece of its chunk: 0 of a copy.
    pub piece: u8,
    /// A read has found it missing or damaged.
    pub suspect: bool,
    /// Does not count as a copy any more: a source of last resort.
    pub demoted: bool,
}

/// A replica that a read could not use, and why.
#[derive(Debug, Clone)]
pub struct FailedRead {
    pub node_id: NodeId,
    pub blob_id: BlobId,
    pub reason: &'static str,
}
