//! `/files/{id}/receipts` and `/files/{id}/proof`: what an owner keeps and asks for, to trust nobody.

use std::sync::Arc;

use api::evidence::{ProofRequest, Proofs as Evidence, ReceiptItem, Receipts};
use api::page::{Page, PageParams};
use api::paths;
use api::problem::{Members, ProblemKind};
use axum::Extension;
use axum::extract::State;
use jiff::Timestamp;
use proto::{FileId, NodeId, ProofSeed};
use rand::Rng;

use super::extract::{Id, Json, Params, User};
use super::page;
use super::problem::Problem;
use super::rate_limit::EvidenceLimits;
use crate::proofs::Proofs;
use crate::proofs::evidence::{self, DEFAULT_CHUNKS, EvidenceError, Wanted};
use crate::proofs::evidence_slots::Occupied;
use crate::proofs::history::{self, ReceiptRow};

/// The nodes' signed receipts for a file's chunks. Keep them: with them every later proof can be
/// checked offline (`coordinator verify-evidence`).
#[utoipa::path(get, path = paths::FILE_RECEIPTS, tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Receipts), (status = 404, description = "No such file of the caller's")))]
pub(super) async fn receipts(
    State(proofs): State<Arc<Proofs>>,
    User(caller): User,
    Id(id): Id<FileId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Receipts>, Problem> {
    let limit = page::limit(&params)?;
    let after = page::position::<(u32, NodeId)>(&params)?;
    let rows = history::receipts_of(&proofs, caller.user_id, id, after, limit as i64 + 1)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    let Page { items, next_cursor } =
        page::of(rows, limit, |row| (row.index, row.node_id), receipt_item);
    Ok(Json(Receipts {
        network_id: proofs.blobs.keys.network_id,
        items,
        next_cursor,
    }))
}

fn receipt_item(row: ReceiptRow) -> ReceiptItem {
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
    }
}

/// Have every copy of a range of chunks proven now.
#[utoipa::path(post, path = paths::FILE_PROOF, tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path)), request_body = ProofRequest, responses(
    (status = 200, body = Evidence), (status = 404, description = "No such file of the caller's"),
    (status = 422, description = "There is no such chunk"),
    (status = 429, description = "Too many requests")))]
pub(super) async fn proof(
    State(proofs): State<Arc<Proofs>>,
    User(caller): User,
    Extension(limits): Extension<Arc<EvidenceLimits>>,
    Id(id): Id<FileId>,
    Json(request): Json<ProofRequest>,
) -> Result<Json<Evidence>, Problem> {
    limits.check(caller.user_id)?;
    let count = request.count.unwrap_or(DEFAULT_CHUNKS);
    if count == 0 {
        return Err(Problem::invalid("`count` is at least 1."));
    }
    let wanted = Wanted {
        seed: request
            .seed
            .unwrap_or_else(|| random_seed(&mut proofs.entropy.rng())),
        first_index: request.first_index.unwrap_or(0),
        count,
    };
    let proofs = evidence::prove(&proofs, caller.user_id, id, wanted).await?;
    Ok(Json(proofs))
}

fn random_seed(rng: &mut impl Rng) -> ProofSeed {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    ProofSeed::from_bytes(seed)
}

impl From<EvidenceError> for Problem {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::NotFound => Self::not_found("file"),
            EvidenceError::IndexOutOfRange { index, chunk_count } => Self::new(
                ProblemKind::ChunkOutOfRange,
                format!(
                    "The file has {chunk_count} chunks, numbered from 0; there is no chunk {index}."
                ),
            )
            .with(Members {
                chunk_count: Some(chunk_count),
                ..Members::default()
            }),
            EvidenceError::Busy(Occupied::ByAccount) => Self::new(
                ProblemKind::Busy,
                "This account has two requests for proofs under way. Wait for one of them.",
            )
            .retry_after(5),
            EvidenceError::Busy(Occupied::ByOthers) => Self::new(
                ProblemKind::Busy,
                "Too many proofs are being asked for right now. Try again in a few seconds.",
            )
            .retry_after(5),
            EvidenceError::Stopping => Self::new(
                ProblemKind::Stopping,
                "The coordinator is stopping. Try again in a few seconds.",
            )
            .retry_after(5),
            EvidenceError::Database(error) => error.into(),
            EvidenceError::Internal(text) => Self::internal(text),
        }
    }
}
