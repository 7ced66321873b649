//! `/files/{id}/receipts` and `/files/{id}/proof`: what an owner keeps and asks for, to trust nobody.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::{FileId, NodeId, ProofSeed};
use rand::Rng;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Id, Json, Params, User};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::rate_limit::EvidenceLimits;
use crate::app::App;
use crate::app::evidence::{self, DEFAULT_CHUNKS, EvidenceError, Wanted};
use crate::clock;
use crate::db;
use crate::db::receipts::ReceiptRow;
use crate::domain::evidence::{Proofs, ReceiptItem, Receipts};

/// The nodes' signed receipts for a file's chunks. Keep them: with them every later proof can be
/// checked offline (`coordinator verify-evidence`).
#[utoipa::path(get, path = "/files/{id}/receipts", tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Receipts), (status = 404, description = "No such file of the caller's")))]
pub async fn receipts(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<FileId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Receipts>, Problem> {
    let limit = page.limit()?;
    let after = page.position::<(u32, NodeId)>()?;
    let after = after.unwrap_or(db::receipts::before(0));
    let mut connection = app.db.acquire().await?;
    db::files::by_id(&mut connection, id, caller.user_id)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    let rows = db::receipts::page(&mut connection, id, after, u32::MAX, limit as i64 + 1).await?;
    let Page { items, next_cursor } =
        Page::new(rows, limit, |row| (row.index, row.node_id), receipt_item);
    Ok(Json(Receipts {
        network_id: app.keys.network_id,
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// 64 hex digits that you have drawn by chance: nobody can have made the proofs beforehand. Drawn
    /// by the coordinator when left out.
    #[schema(value_type = Option<String>)]
    seed: Option<ProofSeed>,
    /// The first chunk, 0 unless told.
    first_index: Option<u32>,
    /// How many chunks, 8 unless told; at most so many that 96 copies are asked for. `next_index` of
    /// the answer says where to go on.
    count: Option<u32>,
}

/// Have every copy of a range of chunks proven now.
#[utoipa::path(post, path = "/files/{id}/proof", tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path)), request_body = ProofRequest, responses(
    (status = 200, body = Proofs), (status = 404, description = "No such file of the caller's"),
    (status = 422, description = "There is no such chunk"),
    (status = 429, description = "Too many requests")))]
pub async fn proof(
    State(app): State<Arc<App>>,
    User(caller): User,
    Extension(limits): Extension<Arc<EvidenceLimits>>,
    Id(id): Id<FileId>,
    Json(request): Json<ProofRequest>,
) -> Result<Json<Proofs>, Problem> {
    limits.check(caller.user_id)?;
    let count = request.count.unwrap_or(DEFAULT_CHUNKS);
    if count == 0 {
        return Err(Problem::invalid("`count` is at least 1."));
    }
    let wanted = Wanted {
        seed: request.seed.unwrap_or_else(random_seed),
        first_index: request.first_index.unwrap_or(0),
        count,
    };
    let proofs = evidence::prove(&app, caller.user_id, id, wanted).await?;
    Ok(Json(proofs))
}

fn random_seed() -> ProofSeed {
    let mut seed = [0; 32];
    clock::rng().fill_bytes(&mut seed);
    ProofSeed::from_bytes(seed)
}

impl From<EvidenceError> for Problem {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::NotFound => Self::not_found("file"),
            EvidenceError::IndexOutOfRange { index, chunk_count } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "chunk-out-of-range",
                format!(
                    "The file has {chunk_count} chunks, numbered from 0; there is no chunk {index}."
                ),
            )
            .with("chunk_count", chunk_count),
            EvidenceError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many proofs are being asked for right now. Try again in a few seconds.",
            )
            .retry_after(5),
            EvidenceError::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The coordinator is stopping. Try again in a few seconds.",
            )
            .retry_after(5),
            EvidenceError::Database(error) => error.into(),
            EvidenceError::Internal(text) => Self::internal(text),
        }
    }
}
