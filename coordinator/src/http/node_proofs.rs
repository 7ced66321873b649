//! `GET /nodes/{id}/proofs`: what a node was asked, and how it was judged; one of them with what it had sent.

use std::sync::Arc;

use api::evidence::Proofs as Evidence;
use api::node_proofs::ProofsView;
use api::page::{Page, PageParams};
use api::paths;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use proto::evidence::OrderItem;
use proto::{ChallengeId, NodeId};
use uuid::Uuid;

use super::authorization::{Account, NodeOr};
use super::extract::{Id, Json, Params};
use super::page;
use super::problem::Problem;
use crate::fleet::Nodes;
use crate::proofs::Proofs;
use crate::proofs::history::{self, KeptStatement};

fn view(kept: KeptStatement) -> ProofsView {
    ProofsView {
        at: kept.at,
        challenge_id: ChallengeId::from_uuid(kept.challenge_id),
        passed: kept.passed,
        failed: kept.failed,
        missed: kept.missed,
        busy: kept.busy,
        statement: BASE64_STANDARD.encode(kept.statement),
        orders: kept.orders.iter().map(OrderItem::from).collect(),
    }
}

/// The challenges of the last 90 days, the newest first; for the node and its operator.
#[utoipa::path(get, path = paths::NODE_PROOFS, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path), PageParams),
    responses(
    (status = 200, body = Page<ProofsView>),
    (status = 403, description = "Neither this node nor its operator asks"),
    (status = 404, description = "No such node")))]
pub(super) async fn proofs(
    State(proofs): State<Arc<Proofs>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<ProofsView>>, Problem> {
    let limit = page::limit(&params)?;
    let before = page::position::<(Timestamp, Uuid)>(&params)?;
    if before.is_some_and(|(at, _)| at < Timestamp::UNIX_EPOCH) {
        return Err(page::foreign_cursor()); // and no time that Postgres knows
    }
    caller.own_node(&nodes, id).await?;
    let rows = history::statements(&proofs, id, before, limit as i64 + 1).await?;
    let position = |kept: &KeptStatement| (kept.at, kept.challenge_id);
    Ok(Json(page::of(rows, limit, position, view)))
}

/// One of those challenges, with what the node sent for the blobs with which it failed; for the node and its operator.
#[utoipa::path(get, path = paths::NODE_PROOF, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])),
    params(("id" = Uuid, Path), ("challenge" = Uuid, Path)), responses(
    (status = 200, body = Evidence),
    (status = 403, description = "Neither this node nor its operator asks"),
    (status = 404, description = "No such node, or nothing is kept of such a challenge")))]
pub(super) async fn one(
    State(proofs): State<Arc<Proofs>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id((id, challenge)): Id<(NodeId, ChallengeId)>,
) -> Result<Json<Evidence>, Problem> {
    caller.own_node(&nodes, id).await?;
    let kept = history::challenge(&proofs, id, challenge).await?;
    kept.map(Json)
        .ok_or_else(|| Problem::not_found("challenge"))
}
