//! What was proven so far: of a file's replicas, of a node.

use std::collections::HashMap;

use jiff::Timestamp;
use proto::evidence::{
    ItemPosition, OrderItem, ProofItem, ProofMessage, Proofs as Evidence, StatementItem,
};
use proto::{
    ChallengeId, FileId, ItemAnswer, ItemOutcome, Malformed, NodeId, Proof, ProofStatement,
};
use uuid::Uuid;

use super::Proofs;
use super::statements::{SigningError, sign_all};
pub use super::tables::audit_results::{KeptStatement, ReplicaDurability};
use super::tables::kept_failures::Failure;
pub use super::tables::receipts::ReceiptRow;
use super::tables::{audit_results, kept_failures, receipts, shown_orders};
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
    pub replicas: Vec<(u32, Option<Kept>)>,
}

/// A replica, and what this coordinator signs of it.
pub type Kept = (ReplicaDurability, Option<StatementItem>);

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error("what is kept of a challenge is {0}")]
    Kept(#[from] Malformed),
}

/// The user's file, `limit` chunks of it from `first` on.
pub async fn durability(
    proofs: &Proofs,
    user: UserId,
    file: FileId,
    first: u32,
    limit: u32,
) -> Result<Option<FileDurability>, HistoryError> {
    let mut connection = proofs.db.acquire().await?;
    let Some(file) = files::by_id(&mut connection, file, user).await? else {
        return Ok(None);
    };
    let min_healthy = audit_results::fewest_healthy(&mut connection, file.id).await?;
    let replicas = audit_results::durability(&mut connection, file.id, first, limit).await?;
    drop(connection);
    let kept = replicas.iter().filter_map(|(_, replica)| replica.as_ref());
    let described = kept.map(|replica| (replica.blob_id, replica.content));
    let mut signed = sign_all(proofs, described.collect()).await?.into_iter();
    let replicas = replicas.into_iter().map(|(index, replica)| {
        let replica = replica.map(|replica| (replica, signed.next().flatten()));
        (index, replica)
    });
    Ok(Some(FileDurability {
        min_healthy,
        replicas: replicas.collect(),
        file,
    }))
}

/// Receipts for the user's file, in the order of chunk and node, behind `after`, each with what this coordinator signs of
/// its blob.
pub async fn receipts_of(
    proofs: &Proofs,
    user: UserId,
    file: FileId,
    after: Option<(u32, NodeId)>,
    limit: i64,
) -> Result<Option<Vec<(ReceiptRow, Option<StatementItem>)>>, HistoryError> {
    let mut connection = proofs.db.acquire().await?;
    if files::by_id(&mut connection, file, user).await?.is_none() {
        return Ok(None);
    }
    let after = after.unwrap_or(receipts::before(0));
    let rows = receipts::page(&mut connection, file, after, u32::MAX, limit).await?;
    drop(connection);
    let described = rows.iter().map(|row| (row.blob_id, row.content));
    let signed = sign_all(proofs, described.collect()).await?;
    Ok(Some(rows.into_iter().zip(signed).collect()))
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

/// One challenge to a node, with what the node sent for the blobs with which it failed and the orders to delete that it
/// showed; `None` when it is not kept.
pub async fn challenge(
    proofs: &Proofs,
    node: NodeId,
    id: ChallengeId,
) -> Result<Option<Evidence>, HistoryError> {
    let mut connection = proofs.db.acquire().await?;
    let Some(kept) = kept_failures::statement(&mut connection, node, id).await? else {
        return Ok(None);
    };
    let failures = kept_failures::failures(&mut connection, node, id).await?;
    let shown = shown_orders::of(&mut connection, &[id.as_uuid()]).await?;
    drop(connection);
    let orders = shown.values().flatten().map(OrderItem::from);
    let answers = failures.into_iter().map(answer);
    let answers: HashMap<u32, ItemAnswer> = answers.collect::<Result<_, Malformed>>()?;
    let statement = ProofStatement::from_bytes(&kept)?;
    let difficulty = statement.challenge.difficulty().get();
    let peer_id = statement.challenge.parties().node.to_string();
    let judged = statement.challenge.items().iter();
    let judged = judged.zip(&statement.verdict.judgements).zip(0..);
    let items = judged.map(|((item, judgement), position)| {
        let who = (node.as_uuid(), peer_id.clone());
        let place = ItemPosition {
            message: 0,
            position,
        };
        let answer = answers.get(&position);
        ProofItem::kept(who, (item, difficulty), (*judgement, answer), place)
    });
    Ok(Some(Evidence {
        items: items.collect(),
        messages: vec![ProofMessage {
            orders: orders.collect(),
            ..ProofMessage::from(&statement)
        }],
        next_index: None,
    }))
}

/// As the node said it.
fn answer(failure: Failure) -> Result<(u32, ItemAnswer), Malformed> {
    let outcome = match (failure.outcome.as_str(), failure.proof_hash) {
        ("proven", Some(proof_hash)) => ItemOutcome::Proven(Proof {
            proof_hash,
            body: failure.body.into(),
        }),
        ("missing", None) => ItemOutcome::Missing,
        ("corrupt", None) => ItemOutcome::Corrupt,
        _ => return Err(Malformed("no outcome that could fail")),
    };
    let answer = ItemAnswer {
        outcome,
        duration_ms: failure.duration_ms,
    };
    Ok((failure.position, answer))
}
