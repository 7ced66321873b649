//! `GET /files/{id}/durability`: where a file's replicas are, and what they last proved.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use proto::FileId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Id, Json, Params, User};
use super::page::{self, PageParams};
use super::problem::Problem;
use crate::app::App;
use crate::db;
use crate::db::audit_results::ReplicaDurability;

/// How safe a file is.
#[derive(Serialize, ToSchema)]
pub struct Durability {
    file_id: Uuid,
    /// Replicas that each chunk should have.
    replication_target: u32,
    /// Healthy replicas of the chunk that has fewest, in the whole file; `null` for an empty one.
    min_healthy: Option<u32>,
    chunks: Vec<ChunkDurability>,
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ChunkDurability {
    index: u32,
    replicas: Vec<ReplicaView>,
}

#[derive(Serialize, ToSchema)]
pub struct ReplicaView {
    node_id: Uuid,
    blob_id: String,
    /// `stored`, or `demoted`: it failed, was reported lost, or its node is out.
    #[schema(example = "stored")]
    state: &'static str,
    /// Why it was demoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    demoted_reason: Option<String>,
    /// Counts as a copy: not demoted, its node in good standing, and offline for no longer than the grace of
    /// repair; where no more than one replica can be read, there is no grace.
    healthy: bool,
    #[schema(value_type = String, format = DateTime)]
    stored_at: Timestamp,
    last_proof: Option<LastProofView>,
}

#[derive(Serialize, ToSchema)]
pub struct LastProofView {
    /// `passed`, `failed` or `missed`.
    #[schema(example = "passed")]
    outcome: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Where a file's replicas are, and what they last proved.
#[utoipa::path(get, path = "/files/{id}/durability", tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Durability),
    (status = 404, description = "No such file of the caller's")))]
pub async fn durability(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<FileId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Durability>, Problem> {
    let (limit, first) = (page.limit()? as u32, page.position::<u32>()?.unwrap_or(0));
    let mut connection = app.db.acquire().await?;
    let file = db::files::by_id(&mut connection, id, caller.user_id)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    if first > i32::MAX as u32 {
        return Err(PageParams::foreign_cursor());
    }
    let min_healthy = db::audit_results::fewest_healthy(&mut connection, id).await?;
    let rows = db::audit_results::durability(&mut connection, id, first, limit).await?;
    let chunks = rows
        .chunk_by(|(one, _), (other, _)| one == other)
        .filter_map(|rows| {
            let (index, _) = rows.first()?;
            let replicas: Vec<_> = rows
                .iter()
                .filter_map(|(_, replica)| replica.as_ref())
                .collect();
            Some(ChunkDurability {
                index: *index,
                replicas: views(&replicas),
            })
        })
        .collect();
    let next = first.saturating_add(limit);
    let more = u64::from(next) < file.layout.chunk_count();
    Ok(Json(Durability {
        file_id: id.as_uuid(),
        replication_target: file.replication,
        min_healthy,
        chunks,
        next_cursor: more.then(|| page::cursor(&next)).flatten(),
    }))
}

/// Where no more than one replica can be read, there is no grace for the others.
fn views(replicas: &[&ReplicaDurability]) -> Vec<ReplicaView> {
    let readable = replicas.iter().filter(|replica| replica.readable).count();
    let views = replicas.iter().map(|replica| ReplicaView {
        node_id: replica.node_id.as_uuid(),
        blob_id: replica.blob_id.to_string(),
        state: if replica.demoted_reason.is_some() {
            "demoted"
        } else {
            "stored"
        },
        healthy: if readable <= 1 {
            replica.readable
        } else {
            replica.counts
        },
        demoted_reason: replica.demoted_reason.clone(),
        stored_at: Timestamp::from_millisecond(replica.stored_at_ms).unwrap_or(Timestamp::MAX),
        last_proof: replica.last_proof.map(|proof| LastProofView {
            outcome: proof.outcome.name(),
            at: proof.at,
        }),
    });
    views.collect()
}
