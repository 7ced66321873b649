//! `/files/{id}/receipts`, `/files/{id}/proof` and `/files/{id}/sealed`: what an owner keeps and asks for, to trust nobody.

use std::sync::Arc;

use api::evidence::{ProofRequest, Proofs as Evidence, Receipts, Sealed, SealedParams};
use api::page::{Page, PageParams};
use api::paths;
use api::problem::{Members, ProblemKind};
use axum::Extension;
use axum::extract::State;
use proto::{FileId, NodeId, ProofSeed};
use rand::Rng;

use super::authorization::{Read, User};
use super::extract::{Id, Json, Params};
use super::page;
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::proofs::Proofs;
use crate::proofs::evidence::{self, DEFAULT_CHUNKS, EvidenceError, Wanted};
use crate::proofs::evidence_slots::Occupied;
use crate::proofs::history::{self, HistoryError};
use crate::proofs::sealed::{self, SealedError};
use crate::proofs::statements::receipt_item;

/// The nodes' signed receipts for a file's chunks. Keep them: with them every later proof can be
/// checked offline (`coordinator verify-evidence`).
#[utoipa::path(get, path = paths::FILE_RECEIPTS, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Receipts), (status = 404, description = "No such file of the caller's")))]
pub(super) async fn receipts(
    State(proofs): State<Arc<Proofs>>,
    User(caller, ..): User<Read>,
    Id(id): Id<FileId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Receipts>, Problem> {
    let limit = page::limit(&params)?;
    let after = page::position::<(u32, NodeId)>(&params)?;
    let rows = history::receipts_of(&proofs, caller.user_id, id, after, limit as i64 + 1)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    let position = |(row, _): &(history::ReceiptRow, _)| (row.index, row.node_id);
    let item = |(row, statement)| receipt_item(row, statement);
    let Page { items, next_cursor } = page::of(rows, limit, position, item);
    Ok(Json(Receipts {
        network_id: proofs.blobs.keys.network_id,
        items,
        next_cursor,
    }))
}

/// Have every copy of a range of chunks proven now.
#[utoipa::path(post, path = paths::FILE_PROOF, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path)), request_body = ProofRequest, responses(
    (status = 200, body = Evidence), (status = 404, description = "No such file of the caller's"),
    (status = 422, description = "There is no such chunk"),
    (status = 429, description = "Too many requests")))]
pub(super) async fn proof(
    State(proofs): State<Arc<Proofs>>,
    User(caller, ..): User<Read>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    Id(id): Id<FileId>,
    Json(request): Json<ProofRequest>,
) -> Result<Json<Evidence>, Problem> {
    limits.check_proof(caller.user_id)?;
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

/// One copy of a chunk as its node holds it, and what opens it: that chunk and no other. Of a file so many chunks are
/// opened in a day as `evidence.open_share` says, one at least; what is open stays open.
#[utoipa::path(get, path = paths::FILE_SEALED, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), SealedParams), responses(
    (status = 200, body = Sealed),
    (status = 404, description = "No such file of the caller's, or no copy of the chunk on this node"),
    (status = 409, description = "The file has one key for all its chunks"),
    (status = 422, description = "There is no such chunk"),
    (status = 429, description = "Too many requests, or enough chunks are open"),
    (status = 503, description = "The copy cannot be read right now")))]
pub(super) async fn sealed(
    State(proofs): State<Arc<Proofs>>,
    User(caller, ..): User<Read>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    Id(file_id): Id<FileId>,
    Params(SealedParams { index, node }): Params<SealedParams>,
) -> Result<Json<Sealed>, Problem> {
    limits.check_proof(caller.user_id)?;
    let wanted = sealed::Wanted {
        file_id,
        index,
        node,
    };
    let sealed = sealed::show(&proofs, caller.user_id, wanted).await?;
    Ok(Json(sealed))
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
            EvidenceError::IndexOutOfRange { index, chunk_count } => {
                chunk_out_of_range(index, chunk_count)
            }
            EvidenceError::Busy(occupied) => busy(occupied),
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

fn chunk_out_of_range(index: u32, chunk_count: u64) -> Problem {
    let detail =
        format!("The file has {chunk_count} chunks, numbered from 0; there is no chunk {index}.");
    Problem::new(ProblemKind::ChunkOutOfRange, detail).with(Members {
        chunk_count: Some(chunk_count),
        ..Members::default()
    })
}

fn busy(occupied: Occupied) -> Problem {
    let detail = match occupied {
        Occupied::ByAccount => {
            "This account has two requests for evidence under way. Wait for one of them."
        }
        Occupied::ByOthers => {
            "Too much evidence is being asked for right now. Try again in a few seconds."
        }
    };
    Problem::new(ProblemKind::Busy, detail).retry_after(5)
}

impl From<SealedError> for Problem {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::NotFound => Self::not_found("file"),
            SealedError::IndexOutOfRange { index, chunk_count } => {
                chunk_out_of_range(index, chunk_count)
            }
            SealedError::NoCopy { index } => Self::new(
                ProblemKind::NotFound,
                format!(
                    "The node holds no copy of chunk {index}: repair may have moved it. Fetch the \
                     receipts anew."
                ),
            ),
            SealedError::NotOpenable => Self::new(
                ProblemKind::NotOpenable,
                "The file was stored when all chunks of a file had one key: what opens one would \
                 open all. Store it anew to be able to have it opened.",
            ),
            SealedError::OpenedEnough(pause) => {
                let seconds = pause.as_secs().saturating_add(1);
                let detail = format!(
                    "As many chunks of this file are open as may be opened in a day. Ask for one of \
                     those, or come again in {seconds} seconds."
                );
                Self::new(ProblemKind::OpenedEnough, detail).retry_after(seconds)
            }
            SealedError::Unreadable { index, reason } => Self::new(
                ProblemKind::Unreadable,
                format!(
                    "The node does not give its copy of chunk {index} right now ({reason}). Ask \
                     another one, or try again."
                ),
            )
            .retry_after(10),
            SealedError::Busy(occupied) => busy(occupied),
            SealedError::Database(error) => error.into(),
            SealedError::Internal(text) => Self::internal(text),
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Database(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
