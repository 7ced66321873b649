//! `GET /files/{id}/durability`: where a file's replicas are, and what they last proved.

use std::collections::HashSet;
use std::sync::Arc;

use api::durability::{ChunkDurability, Durability, LastProofView, ReplicaView};
use api::page::PageParams;
use api::paths;
use axum::extract::State;
use jiff::Timestamp;
use model::ids::UserId;
use proto::FileId;

use super::authorization::{Read, User};
use super::extract::{Id, Json, Params};
use super::page;
use super::problem::Problem;
use crate::proofs::Proofs;
use crate::proofs::history::{self, FileDurability, Kept};
use model::scheme::Scheme;

/// Where a file's replicas are, and what they last proved.
#[utoipa::path(get, path = paths::FILE_DURABILITY, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Durability),
    (status = 404, description = "No such file of the caller's")))]
pub(super) async fn durability(
    State(proofs): State<Arc<Proofs>>,
    User(caller, ..): User<Read>,
    Id(id): Id<FileId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Durability>, Problem> {
    described(&proofs, caller.user_id, id, &params)
        .await
        .map(Json)
}

/// A page of the chunks of a file of this owner.
pub(super) async fn described(
    proofs: &Proofs,
    owner: UserId,
    id: FileId,
    params: &PageParams,
) -> Result<Durability, Problem> {
    let limit = page::limit(params)? as u32;
    let first = page::position::<u32>(params)?.unwrap_or(0);
    if first > i32::MAX as u32 {
        return Err(page::foreign_cursor());
    }
    let FileDurability {
        file,
        min_healthy,
        replicas,
    } = history::durability(proofs, owner, id, first, limit)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    let chunks = replicas
        .chunk_by(|(one, _), (other, _)| one == other)
        .filter_map(|rows| {
            let (index, _) = rows.first()?;
            let replicas: Vec<_> = rows
                .iter()
                .filter_map(|(_, replica)| replica.as_ref())
                .collect();
            Some(ChunkDurability {
                index: *index,
                replicas: views(&replicas, file.scheme),
            })
        })
        .collect();
    let next = first.saturating_add(limit);
    let more = u64::from(next) < file.layout.chunk_count();
    Ok(Durability {
        file_id: id,
        replication_target: file.scheme.pieces(),
        needed: file.scheme.needed(),
        min_healthy,
        chunks,
        next_cursor: more.then(|| page::cursor(&next)).flatten(),
    })
}

/// Where no more replicas can be read than give the chunk back, there is no grace for the others.
fn views(replicas: &[&Kept], scheme: Scheme) -> Vec<ReplicaView> {
    let readable = replicas.iter().filter(|(replica, _)| replica.readable);
    let readable = match scheme {
        Scheme::Copies { .. } => readable.count(),
        Scheme::Coded { .. } => readable
            .map(|(replica, _)| replica.piece)
            .collect::<HashSet<_>>()
            .len(),
    };
    let views = replicas.iter().map(|(replica, statement)| ReplicaView {
        statement: statement.clone(),
        node_id: replica.node_id,
        blob_id: replica.blob_id,
        piece: replica.piece,
        state: if replica.demoted_reason.is_some() {
            "demoted"
        } else {
            "stored"
        }
        .to_owned(),
        healthy: if readable <= scheme.needed() as usize {
            replica.readable
        } else {
            replica.counts
        },
        demoted_reason: replica.demoted_reason.clone(),
        stored_at: Timestamp::from_millisecond(replica.stored_at_ms).unwrap_or(Timestamp::MAX),
        last_proof: replica.last_proof.map(|proof| LastProofView {
            outcome: proof.outcome.name().to_owned(),
            at: proof.at,
        }),
    });
    views.collect()
}
