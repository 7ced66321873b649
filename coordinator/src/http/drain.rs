//! `/nodes/{id}/drain`: a node leaves in order. For the node itself, and for its operator.

use std::sync::Arc;
use std::time::Duration;

use api::drain::{DrainPlan, DrainView};
use api::paths;
use api::problem::{Members, ProblemKind};
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use proto::{MicroCredits, NodeId};

use super::authorization::{Account, NodeOr};
use super::extract::{Id, Json};
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::durability::drain::{DrainError, Plan, Progress};
use crate::durability::{Durability, drain};
use crate::fleet::Nodes;
use model::node_state::NodeState;
use rules::drain::NoRoom;

impl From<Plan> for DrainPlan {
    fn from(plan: Plan) -> Self {
        Self {
            blobs: plan.load.blobs,
            bytes: plan.load.bytes,
            eligible_nodes: plan.room.nodes,
            free_bytes: plan.room.free_bytes,
            possible: plan.no_room.is_none(),
            obstacle: plan.no_room.map(|no_room| no_room.to_string()),
            missing_bytes: plan.no_room.map_or(0, NoRoom::missing_bytes),
            estimated_seconds: plan.estimated.as_ref().map(Duration::as_secs),
            returned_microcredits: plan.held,
            forfeited_microcredits: MicroCredits::ZERO,
        }
    }
}

impl From<Progress> for DrainView {
    fn from(progress: Progress) -> Self {
        let Progress {
            drain,
            left,
            estimated,
            pay,
        } = progress;
        Self {
            state: match drain.ended.map(|(_, state)| state) {
                None => "draining",
                Some(NodeState::Drained) => "drained",
                Some(NodeState::Disqualified) => "disqualified",
                Some(_) => "cancelled",
            }
            .to_owned(),
            started_at: drain.started_at,
            ended_at: drain.ended.map(|(at, _)| at),
            blobs: drain.load.blobs,
            bytes: drain.load.bytes,
            blobs_left: left.blobs,
            bytes_left: left.bytes,
            estimated_seconds: estimated.as_ref().map(Duration::as_secs),
            earned_microcredits: pay.earned,
            paid_out_microcredits: pay.paid_out,
            held_microcredits: pay.held,
            available_microcredits: pay.available,
        }
    }
}

impl From<DrainError> for Problem {
    fn from(error: DrainError) -> Self {
        match error {
            DrainError::NoSuchNode => Self::not_found("node"),
            DrainError::Disqualified(_) => Self::new(
                ProblemKind::NodeDisqualified,
                format!("There is nothing to hand over in order: {error}."),
            ),
            DrainError::AwaitsRestore => Self::new(
                ProblemKind::AwaitsRestore,
                "The network's database was restored, and this node has not been gone through since: nobody \
                 knows what it holds. It can be drained when the network's administrator has run \
                 `coordinator restore begin` while it was there."
                    .to_owned(),
            ),
            DrainError::NotDraining(state) => Self::new(
                ProblemKind::NotDraining,
                format!(
                    "The node is {state}: only one that is draining can be called back. One that \
                     has drained is out for good; begin anew as a new node."
                ),
            )
            .with(Members {
                state: Some(state.name().to_owned()),
                ..Members::default()
            }),
            DrainError::NoRoom(NoRoom::TooFewNodes { stuck, of }) => Self::new(
                ProblemKind::TooFewNodes,
                format!(
                    "Of {of} chunks looked at, {stuck} are on every other node that can be used now: \
                     they would be left with a copy too few. Try again when more nodes are online."
                ),
            )
            .with(Members {
                stuck_chunks: Some(stuck),
                sampled_chunks: Some(of),
                ..Members::default()
            })
            .retry_after(60),
            DrainError::NoRoom(
                no_room @ NoRoom::TooLittleSpace {
                    needed_bytes,
                    free_bytes,
                },
            ) => {
                let missing_bytes = no_room.missing_bytes();
                Self::new(
                    ProblemKind::InsufficientStorage,
                    format!(
                        "The node holds {needed_bytes} bytes and the others have room for \
                         {free_bytes}: {missing_bytes} are missing. Try again when there is more."
                    ),
                )
                .with(Members {
                    needed_bytes: Some(needed_bytes),
                    free_bytes: Some(free_bytes),
                    missing_bytes: Some(missing_bytes),
                    ..Members::default()
                })
            }
            DrainError::Database(error) => error.into(),
        }
    }
}

async fn view(durability: &Durability, id: NodeId) -> Result<Json<DrainView>, Problem> {
    let progress = drain::progress(durability, id, durability.clock.now()).await?;
    let progress = progress.ok_or_else(|| Problem::not_found("drain of this node"))?;
    Ok(Json(progress.into()))
}

/// What draining the node would mean: what has to be moved, where there is room, what comes back.
#[utoipa::path(get, path = paths::NODE_DRAIN_PLAN, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainPlan),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub(super) async fn plan(
    State(durability): State<Arc<Durability>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainPlan>, Problem> {
    caller.own_node(&nodes, id).await?;
    Ok(Json(drain::plan(&durability, id).await?.into()))
}

/// Drain a node: it gets nothing new, and all that it holds is moved to others while it goes on serving
/// and earning. Asking again changes nothing.
#[utoipa::path(post, path = paths::NODE_DRAIN, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 202, body = DrainView),
    (status = 403, description = "The node is somebody else's, or was disqualified"),
    (status = 404, description = "No such node"),
    (status = 503, description = "Some of its chunks have no other node to go to"),
    (status = 507, description = "The other nodes have too little room")))]
pub(super) async fn begin(
    State(durability): State<Arc<Durability>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
) -> Result<(StatusCode, Json<DrainView>), Problem> {
    let node = caller.own_node(&nodes, id).await?;
    drain::begin(&durability, &node, durability.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, view(&durability, id).await?))
}

/// How far the last drain of a node has come; its final statement once it has drained.
#[utoipa::path(get, path = paths::NODE_DRAIN, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainView),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node, or nobody has asked to drain it")))]
pub(super) async fn progress(
    State(durability): State<Arc<Durability>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainView>, Problem> {
    caller.own_node(&nodes, id).await?;
    view(&durability, id).await
}

/// Call a draining node back. What was moved stays where it is.
#[utoipa::path(delete, path = paths::NODE_DRAIN, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainView),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node"),
    (status = 409, description = "The node is not draining"),
    (status = 429, description = "It was called back too often within an hour")))]
pub(super) async fn cancel(
    State(durability): State<Arc<Durability>>,
    State(nodes): State<Arc<Nodes>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainView>, Problem> {
    caller.own_node(&nodes, id).await?;
    limits.check_drain(id)?;
    drain::cancel(&durability, id, durability.clock.now()).await?;
    view(&durability, id).await
}
