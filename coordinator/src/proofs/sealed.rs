//! One copy of a chunk is shown to its file's owner, with what opens it: he sees for himself that it is his.
//!
//! Invariant: what is shown opens this chunk and no other, and of a file no more chunks are opened in a day than
//! `evidence.open_share` says. Who has a chunk's key can make its other copies out of one; an owner who gives it to the
//! nodes pays more for the copies than they save.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use proto::evidence::{Sealed, StatementItem};
use proto::{BlobId, ChunkOpening, FileId, Malformed, NodeId};

use crate::blobs::crypto_pool::TaskLost;
use crate::fleet::ReadFailure;
use crate::proofs::Proofs;
use crate::proofs::evidence::funding;
use crate::proofs::evidence_slots::Occupied;
use crate::proofs::statements::{Signer, receipt_item};
use crate::proofs::tables::openings;
use crate::proofs::tables::receipts::ChunkContent;
use model::chunk::FailedRead;
use model::ids::UserId;
use rules::evidence::openable;
use sealing::{ChunkKey, ChunkRef, PieceRef, content_of};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error("there is no such file")]
    NotFound,
    #[error("there is no chunk {index}")]
    IndexOutOfRange { index: u32, chunk_count: u64 },
    #[error("the node holds no copy of chunk {index}")]
    NoCopy { index: u32 },
    #[error("all chunks of the file have one key")]
    NotOpenable,
    #[error("no more chunks of the file are opened for {0:?}")]
    OpenedEnough(Duration),
    #[error("the copy of chunk {index} cannot be read: {reason}")]
    Unreadable { index: u32, reason: String },
    #[error(transparent)]
    Busy(#[from] Occupied),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Internal(String),
}

macro_rules! internal {
    ($($error:ty),*) => {$(
        impl From<$error> for SealedError {
            fn from(error: $error) -> Self {
                Self::Internal(error.to_string())
            }
        }
    )*};
}

internal!(Malformed, TaskLost);

/// Which copy.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub file_id: FileId,
    pub index: u32,
    pub node: NodeId,
}

/// The copy as its node gives it now, and what opens it.
pub async fn show(proofs: &Proofs, user: UserId, wanted: Wanted) -> Result<Sealed, SealedError> {
    let Wanted {
        file_id,
        index,
        node,
    } = wanted;
    let funding = funding(proofs, user).await?;
    let _slot = proofs.evidence_slots.take(user, funding).await?;
    let mut connection = proofs.db.acquire().await?;
    let asked = openings::copy(&mut connection, user, file_id, index, node).await?;
    let asked = asked.ok_or(SealedError::NotFound)?;
    let chunk_count = asked.chunk_count;
    if u64::from(index) >= chunk_count {
        return Err(SealedError::IndexOutOfRange { index, chunk_count });
    }
    let copy = asked.copy.ok_or(SealedError::NoCopy { index })?;
    let limit = openable(chunk_count, proofs.evidence.open_share);
    // Before a node is put to work; what is decided here is decided again under a lock.
    if let Some(pause) = openings::closed_for(&mut connection, file_id, index, limit).await? {
        return Err(SealedError::OpenedEnough(pause));
    }
    drop(connection);

    let keys = &proofs.blobs.keys;
    let data_key = keys.data_key(file_id, &asked.key, &proofs.db).await;
    let data_key = data_key.map_err(|error| SealedError::Internal(format!("{error:#}")))?;
    let chunk_key = data_key.chunk_key(index).ok_or(SealedError::NotOpenable)?;
    let content = copy.content.ok_or(SealedError::NotOpenable)?;
    let blob = read(proofs, wanted, copy.blob_id, &chunk_key, content).await?;

    let mut transaction = proofs.db.begin().await?;
    let closed = openings::open(&mut transaction, file_id, index, limit).await?;
    transaction.commit().await?;
    if let Some(pause) = closed {
        return Err(SealedError::OpenedEnough(pause));
    }
    let (statement, signature) = Signer::of(keys).sign(copy.blob_id, &content)?;
    let opening = ChunkOpening {
        statement: &statement,
        chunk_key: chunk_key.as_bytes(),
    };
    Ok(Sealed {
        opening_signature: opening.sign(&keys.identity)?.to_string(),
        chunk_key: hex::encode(chunk_key.as_bytes()),
        blob: BASE64_STANDARD.encode(&blob),
        receipt: receipt_item(copy, Some(StatementItem::new(&statement, signature))),
    })
}

/// The blob, checked as its owner will check it: nothing is signed that is not so.
async fn read(
    proofs: &Proofs,
    wanted: Wanted,
    blob_id: BlobId,
    chunk_key: &ChunkKey,
    content: ChunkContent,
) -> Result<Bytes, SealedError> {
    let (index, node_id) = (wanted.index, wanted.node);
    let unreadable = |reason: String| SealedError::Unreadable { index, reason };
    let blame = |reason: &'static str| {
        proofs.blobs.metrics.bad_replicas.inc();
        proofs.blobs.read_failures.report(FailedRead {
            node_id,
            blob_id,
            reason,
        });
        unreadable(reason.to_owned())
    };
    let blob = match proofs.blobs.fleet.retrieve(node_id, blob_id).await {
        Ok(blob) => blob,
        Err(ReadFailure::Missing | ReadFailure::Ordered(_)) => return Err(blame("missing")),
        Err(ReadFailure::Corrupt) => return Err(blame("corrupt")),
        Err(failure) => return Err(unreadable(failure.to_string())),
    };
    let chunk = ChunkRef {
        file_id: wanted.file_id,
        index,
    };
    let (key, bytes) = (*chunk_key.as_bytes(), blob.clone());
    let look = move || match BlobId::of(&bytes) == blob_id {
        true => Ok(is_content(key, chunk, &content, BytesMut::from(&bytes[..]))),
        false => Err("wrong bytes"),
    };
    let length = blob.len();
    match proofs.blobs.crypto.run_over(length, look).await? {
        Ok(true) => Ok(blob),
        Ok(false) => Err(blame("not this chunk")),
        Err(reason) => Err(blame(reason)),
    }
}

/// Whether a blob is the chunk that it is said to be, or opens as the piece of it.
fn is_content(key: [u8; 32], chunk: ChunkRef, content: &ChunkContent, blob: BytesMut) -> bool {
    if !content.scheme.is_coded() {
        let found = content_of(&key, chunk, blob);
        return found == Ok((content.sha256, content.bytes));
    }
    let Ok(piece) = content.scheme.piece(content.piece) else {
        return false;
    };
    let place = PieceRef {
        chunk,
        piece,
        chunk_bytes: content.bytes,
    };
    let key = ChunkKey::from_bytes(Zeroizing::new(key));
    key.open_piece(place, blob).is_ok()
}
