//! What was proven so far: of a file's replicas, of a node.

use jiff::Timestamp;
use proto::{FileId, NodeId};
use uuid::Uuid;

use super::Proofs;
pub use super::tables::audit_results::{KeptStatement, ReplicaDurability};
pub use super::tables::receipts::ReceiptRow;
use super::tables::{audit_results, receipts};
use crate::files::tables::files;
use model::file::File;
use model::ids::UserId;

/// A stretch of a file's chunks and how well they are kept.
#[derive(Debug)]
pub struct FileDurability {
    pub file: File,
    /// Healthy replicas of the chunk that has the fewest, over the whole file.
    pub min_healthy: Option<u32>,
    /// By chunk; a chunk without any replica has one entry, too.
    pub replicas: Vec<(u32, Option<ReplicaDurability>)>,
}

/// The user's file, `limit` chunks of it from `first` on.
pub async fn durability(
    proofs: &Proofs,
    user: UserId,
    file: FileId,
    first: u32,
    limit: u32,
) -> sqlx::Result<Option<FileDurability>> {
    let mut connection = proofs.db.acquire().await?;
    let Some(file) = files::by_id(&mut connection, file, user).await? else {
        return Ok(None);
    };
    Ok(Some(FileDurability {
        min_healthy: audit_results::fewest_healthy(&mut connection, file.id).await?,
        replicas: audit_results::durability(&mut connection, file.id, first, limit).await?,
        file,
    }))
}

/// Receipts for the user's file, in the order of chunk and node, behind `after`.
pub async fn receipts_of(
    proofs: &Proofs,
    user: UserId,
    file: FileId,
    after: Option<(u32, NodeId)>,
    limit: i64,
) -> sqlx::Result<Option<Vec<ReceiptRow>>> {
    let mut connection = proofs.db.acquire().await?;
    if files::by_id(&mut connection, file, user).await?.is_none() {
        return Ok(None);
    }
    let after = after.unwrap_or(receipts::before(0));
    let rows = receipts::page(&mut connection, file, after, u32::MAX, limit).await?;
    Ok(Some(rows))
}

/// A node's signed answers to challenges, the newest first, before this one.
pub async fn statements(
    proofs: &Proofs,
    node: NodeId,
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<KeptStatement>> {
    let mut connection = proofs.db.acquire().await?;
    audit_results::statements(&mut connection, node, before, limit).await
}
