//! What binds evidence to a file: a coordinator's signed word on each blob, and blobs that are opened.

use serde::{Deserialize, Serialize};

use super::{ReceiptItem, signature};
use crate::{
    BlobId, ChunkOpening, ChunkSha256, ChunkStatement, FileId, NetworkId, PeerId, Piece, Sealing,
    Signature,
};

/// "This blob is that chunk of that file", signed by a coordinator (docs/proofs.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatementItem {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network_id: NetworkId,
    /// Peer id of the coordinator that signs.
    pub coordinator: String,
    #[cfg_attr(feature = "openapi", schema(value_type = uuid::Uuid))]
    pub file_id: FileId,
    /// Of the chunk, from 0.
    pub index: u32,
    /// Length of the chunk's plaintext.
    pub chunk_bytes: u32,
    /// Of the chunk's plaintext; 64 hex digits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub chunk_sha256: ChunkSha256,
    /// Which piece of the chunk the blob holds: 0 of a copy.
    pub piece: u8,
    /// Pieces that give the chunk back: 1 of copies.
    pub k: u8,
    /// Pieces that there should be.
    pub n: u8,
    /// How the chunk is sealed: 2 under a key of its own, 1 under that of the whole file.
    pub sealing: u8,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub blob_id: BlobId,
    /// Bytes of the blob.
    pub length: u64,
    /// By the coordinator; 128 hex digits.
    pub signature: String,
}

impl StatementItem {
    pub fn new(statement: &ChunkStatement, signature: Signature) -> Self {
        Self {
            network_id: statement.network_id,
            coordinator: statement.coordinator.to_string(),
            file_id: statement.file_id,
            index: statement.index,
            chunk_bytes: statement.chunk_bytes,
            chunk_sha256: statement.chunk_sha256,
            piece: statement.piece.number(),
            k: statement.piece.needed(),
            n: statement.piece.pieces(),
            sealing: statement.sealing.number(),
            blob_id: statement.blob_id,
            length: statement.length,
            signature: signature.to_string(),
        }
    }

    /// What the coordinator has signed, if it has.
    pub fn open(&self) -> Result<ChunkStatement, String> {
        let coordinator: PeerId = self.coordinator.parse().map_err(|_| {
            let coordinator = &self.coordinator;
            format!("{coordinator} is not a peer id")
        })?;
        let malformed = |error: crate::Malformed| error.to_string();
        let statement = ChunkStatement {
            network_id: self.network_id,
            coordinator,
            file_id: self.file_id,
            index: self.index,
            chunk_bytes: self.chunk_bytes,
            chunk_sha256: self.chunk_sha256,
            piece: Piece::new(self.piece, self.k, self.n).map_err(malformed)?,
            sealing: Sealing::try_from(self.sealing).map_err(malformed)?,
            blob_id: self.blob_id,
            length: self.length,
        };
        let signature = signature(&self.signature).map_err(malformed)?;
        statement
            .verify(&signature)
            .map_err(|_| "no coordinator has signed what the blob is".to_owned())?;
        Ok(statement)
    }
}

/// A blob as its node holds it, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sealed {
    /// The node's, with the coordinator's statement.
    pub receipt: ReceiptItem,
    /// Opens this chunk and no other; 64 hex digits.
    pub chunk_key: String,
    /// By the coordinator of the statement, over statement and key; 128 hex digits.
    pub opening_signature: String,
    /// The blob, in base64.
    pub blob: String,
}

impl Sealed {
    /// The key that the coordinator has signed for this statement, if it has.
    pub(super) fn key(&self, statement: &ChunkStatement) -> Result<[u8; 32], String> {
        let mut chunk_key = [0; 32];
        hex::decode_to_slice(&self.chunk_key, &mut chunk_key)
            .map_err(|_| "the key must have 64 hex digits".to_owned())?;
        let opening = ChunkOpening {
            statement,
            chunk_key: &chunk_key,
        };
        let signature = signature(&self.opening_signature).map_err(|error| error.to_string())?;
        opening
            .verify(&signature)
            .map_err(|_| "the coordinator has not signed this key".to_owned())?;
        Ok(chunk_key)
    }
}
