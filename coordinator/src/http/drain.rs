//! `/nodes/{id}/drain`: a node leaves in order. For the node itself, and for its operator.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::NodeId;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Caller, Id, Json};
use super::problem::Problem;
use crate::app::App;
use crate::app::drain::{self, DrainError, Plan, Progress};
use crate::clock;
use crate::domain::drain::NoRoom;
use crate::domain::node::NodeState;

/// What draining the node would mean now. Nothing is changed.
#[derive(Serialize, ToSchema)]
pub struct DrainPlan {
    /// Copies to move; of a large node an estimate.
    blobs: u64,
    /// Of the chunks' plaintext.
    bytes: u64,
    /// Other nodes that are online and take blobs.
    eligible_nodes: usize,
    /// What they have room for.
    free_bytes: u64,
    /// Whether a drain would be begun.
    possible: bool,
    /// Why not.
    obstacle: Option<String>,
    /// Room that is missing.
    missing_bytes: u64,
    /// As fast as the last drain of this network went, and no faster than `repair.bytes_per_second`; `null` where
    /// neither is known.
    estimated_seconds: Option<u64>,
    /// Held back from the node's pay so far: comes back when it has drained.
    returned_microcredits: i64,
    /// What a node loses by draining: nothing. One that just stops forfeits what is held back.
    forfeited_microcredits: i64,
}

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
            returned_microcredits: plan.held.get(),
            forfeited_microcredits: 0,
        }
    }
}

/// How far a node has come, and its statement at the end.
#[derive(Serialize, ToSchema)]
pub struct DrainView {
    /// draining, drained, cancelled, or disqualified.
    #[schema(example = "draining")]
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// What it held when it began; of a large node an estimate.
    blobs: u64,
    bytes: u64,
    /// What it still holds.
    blobs_left: u64,
    bytes_left: u64,
    /// At the pace so far; `null` before anything was moved, and at the end.
    estimated_seconds: Option<u64>,
    /// In all days that are settled.
    earned_microcredits: i64,
    paid_out_microcredits: i64,
    /// Still held back. Once the node has drained, the next settlement makes it available.
    held_microcredits: i64,
    available_microcredits: i64,
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
            },
            started_at: drain.started_at,
            ended_at: drain.ended.map(|(at, _)| at),
            blobs: drain.load.blobs,
            bytes: drain.load.bytes,
            blobs_left: left.blobs,
            bytes_left: left.bytes,
            estimated_seconds: estimated.as_ref().map(Duration::as_secs),
            earned_microcredits: pay.earned.get(),
            paid_out_microcredits: pay.paid_out.get(),
            held_microcredits: pay.held.get(),
            available_microcredits: pay.available.get(),
        }
    }
}

impl From<DrainError> for Problem {
    fn from(error: DrainError) -> Self {
        use StatusCode as S;
        match error {
            DrainError::NoSuchNode => Self::not_found("node"),
            DrainError::Disqualified(_) => Self::new(
                S::FORBIDDEN,
                "node-disqualified",
                format!("There is nothing to hand over in order: {error}."),
            ),
            DrainError::AwaitsAdoption => Self::new(
                S::CONFLICT,
                "awaits-adoption",
                "The network's database was restored, and this node has not been gone through since: nobody \
                 knows what it holds. It can be drained when the network's administrator has run \
                 `coordinator adopt begin` while it was there."
                    .to_owned(),
            ),
            DrainError::NotDraining(state) => Self::new(
                S::CONFLICT,
                "not-draining",
                format!(
                    "The node is {state}: only one that is draining can be called back. One that \
                     has drained is out for good; begin anew as a new node."
                ),
            )
            .with("state", state.name()),
            DrainError::NoRoom(NoRoom::TooFewNodes { stuck, of }) => Self::new(
                S::SERVICE_UNAVAILABLE,
                "too-few-nodes",
                format!(
                    "Of {of} chunks looked at, {stuck} are on every other node that can be used now: \
                     they would be left with a copy too few. Try again when more nodes are online."
                ),
            )
            .with("stuck_chunks", stuck)
            .with("sampled_chunks", of)
            .retry_after(60),
            DrainError::NoRoom(
                no_room @ NoRoom::TooLittleSpace {
                    needed_bytes,
                    free_bytes,
                },
            ) => {
                let missing_bytes = no_room.missing_bytes();
                Self::new(
                    S::INSUFFICIENT_STORAGE,
                    "insufficient-storage",
                    format!(
                        "The node holds {needed_bytes} bytes and the others have room for \
                         {free_bytes}: {missing_bytes} are missing. Try again when there is more."
                    ),
                )
                .with("needed_bytes", needed_bytes)
                .with("free_bytes", free_bytes)
                .with("missing_bytes", missing_bytes)
            }
            DrainError::Database(error) => error.into(),
        }
    }
}

async fn view(app: &App, id: NodeId) -> Result<Json<DrainView>, Problem> {
    let progress = drain::progress(app, id, clock::now()).await?;
    let progress = progress.ok_or_else(|| Problem::not_found("drain of this node"))?;
    Ok(Json(progress.into()))
}

/// What draining the node would mean: what has to be moved, where there is room, what comes back.
#[utoipa::path(get, path = "/nodes/{id}/drain/plan", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainPlan),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub async fn plan(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainPlan>, Problem> {
    caller.own_node(&app, id).await?;
    Ok(Json(drain::plan(&app, id).await?.into()))
}

/// Drain a node: it gets nothing new, and all that it holds is moved to others while it goes on serving
/// and earning. Asking again changes nothing.
#[utoipa::path(post, path = "/nodes/{id}/drain", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 202, body = DrainView),
    (status = 403, description = "The node is somebody else's, or was disqualified"),
    (status = 404, description = "No such node"),
    (status = 503, description = "Some of its chunks have no other node to go to"),
    (status = 507, description = "The other nodes have too little room")))]
pub async fn begin(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
) -> Result<(StatusCode, Json<DrainView>), Problem> {
    let node = caller.own_node(&app, id).await?;
    drain::begin(&app, &node, clock::now()).await?;
    Ok((StatusCode::ACCEPTED, view(&app, id).await?))
}

/// How far the last drain of a node has come; its final statement once it has drained.
#[utoipa::path(get, path = "/nodes/{id}/drain", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainView),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node, or nobody has asked to drain it")))]
pub async fn progress(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainView>, Problem> {
    caller.own_node(&app, id).await?;
    view(&app, id).await
}

/// Call a draining node back. What was moved stays where it is.
#[utoipa::path(delete, path = "/nodes/{id}/drain", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, body = DrainView),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node"),
    (status = 409, description = "The node is not draining")))]
pub async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
) -> Result<Json<DrainView>, Problem> {
    caller.own_node(&app, id).await?;
    drain::cancel(&app, id, clock::now()).await?;
    view(&app, id).await
}
