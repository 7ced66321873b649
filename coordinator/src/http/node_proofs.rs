//! `GET /nodes/{id}/proofs`: what a node was asked, and how it was judged.

use std::sync::Arc;

use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use proto::NodeId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Caller, Id, Json, Params};
use super::page::{Page, PageParams};
use super::problem::Problem;
use crate::app::App;
use crate::db;
use crate::db::audit_results::KeptStatement;

/// The judgement over one challenge message.
#[derive(Serialize, ToSchema)]
pub struct ProofsView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    challenge_id: Uuid,
    passed: u32,
    failed: u32,
    missed: u32,
    busy: u32,
    /// Challenge, digests of the answers and judgement, signed by both sides (base64; docs/proofs.md).
    statement: String,
}

impl From<KeptStatement> for ProofsView {
    fn from(kept: KeptStatement) -> Self {
        Self {
            at: kept.at,
            challenge_id: kept.challenge_id,
            passed: kept.passed,
            failed: kept.failed,
            missed: kept.missed,
            busy: kept.busy,
            statement: BASE64_STANDARD.encode(kept.statement),
        }
    }
}

/// The challenges of the last 90 days, the newest first; for the node and its operator.
#[utoipa::path(get, path = "/nodes/{id}/proofs", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path), PageParams),
    responses(
    (status = 200, body = Page<ProofsView>),
    (status = 403, description = "Neither this node nor its operator asks"),
    (status = 404, description = "No such node")))]
pub async fn proofs(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<ProofsView>>, Problem> {
    let (limit, before) = (page.limit()?, page.position::<(Timestamp, Uuid)>()?);
    if before.is_some_and(|(at, _)| at < Timestamp::UNIX_EPOCH) {
        return Err(PageParams::foreign_cursor()); // and no time that Postgres knows
    }
    caller.own_node(&app, id).await?;
    let mut connection = app.db.acquire().await?;
    let rows = db::audit_results::statements(&mut connection, id, before, limit as i64 + 1).await?;
    let position = |kept: &KeptStatement| (kept.at, kept.challenge_id);
    Ok(Json(Page::new(rows, limit, position, ProofsView::from)))
}
