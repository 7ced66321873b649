//! What this coordinator signs of blobs: which chunk of which file each is.

use jiff::Timestamp;
use proto::evidence::{ReceiptItem, StatementItem};
use proto::{BlobId, ChunkStatement, Keypair, Malformed, NetworkId, Signature};

use crate::blobs::crypto_pool::TaskLost;
use crate::keys::KeyRing;
use crate::proofs::Proofs;
use crate::proofs::tables::receipts::{ChunkContent, ReceiptRow};

/// A blob, and what it is as far as that is known.
pub type Described = (BlobId, Option<ChunkContent>);

/// Who signs, and for which network.
pub(super) struct Signer {
    network_id: NetworkId,
    identity: Keypair,
}

impl Signer {
    pub(super) fn of(keys: &KeyRing) -> Self {
        Self {
            network_id: keys.network_id,
            identity: keys.identity.clone(),
        }
    }

    pub(super) fn sign(
        &self,
        blob_id: BlobId,
        content: &ChunkContent,
    ) -> Result<(ChunkStatement, Signature), Malformed> {
        let statement = ChunkStatement {
            network_id: self.network_id,
            coordinator: self.identity.public().to_peer_id(),
            file_id: content.file_id,
            index: content.index,
            chunk_bytes: content.bytes,
            chunk_sha256: content.sha256,
            piece: content.scheme.piece(content.piece)?,
            sealing: content.sealing,
            blob_id,
            length: content.blob_bytes(),
        };
        let signature = statement.sign(&self.identity)?;
        Ok((statement, signature))
    }

    fn item(&self, (blob_id, content): &Described) -> Result<Option<StatementItem>, Malformed> {
        let Some(content) = content else {
            return Ok(None);
        };
        let (statement, signature) = self.sign(*blob_id, content)?;
        Ok(Some(StatementItem::new(&statement, signature)))
    }
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    TaskLost(#[from] TaskLost),
}

/// A statement on each of these blobs, in order. A page of them takes some tens of milliseconds, off the sockets.
pub async fn sign_all(
    proofs: &Proofs,
    blobs: Vec<Described>,
) -> Result<Vec<Option<StatementItem>>, SigningError> {
    let signer = Signer::of(&proofs.blobs.keys);
    let sign = move || blobs.iter().map(|blob| signer.item(blob)).collect();
    let signed: Result<Vec<_>, Malformed> = proofs.blobs.crypto.run(sign).await?;
    Ok(signed?)
}

/// A receipt as owners keep it.
pub fn receipt_item(row: ReceiptRow, statement: Option<StatementItem>) -> ReceiptItem {
    let stored_at_ms = row.receipt.stored_at_ms;
    let stored_at = i64::try_from(stored_at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    ReceiptItem {
        index: row.index,
        node_id: row.node_id.as_uuid(),
        peer_id: row.peer_id,
        blob_id: row.blob_id,
        length: row.length,
        // What is signed is the number: a node's clock may say anything.
        stored_at: stored_at.unwrap_or(Timestamp::MAX),
        stored_at_ms,
        signature: row.receipt.signature.to_string(),
        statement,
    }
}
