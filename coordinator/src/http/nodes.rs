//! `/network` and `/nodes`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::{NetworkDocument, NodeId, Signature};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::extract::{ClientAddr, Id, Json, Params, User};
use super::page::{Page, PageParams};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::app::{App, nodes};
use crate::clock;
use crate::db;
use crate::db::nodes::Node;
use crate::domain::names::{NodeName, Region};

/// Changes of state that a node is shown with.
const HISTORY: i64 = 20;

/// Where the coordinators are, signed with the network key.
#[derive(ToSchema)]
#[schema(as = NetworkDocument)]
#[expect(dead_code, reason = "the schema of a type of another crate")]
pub struct NetworkDocumentSchema {
    /// BLAKE3 of the public key, 64 hex digits.
    network_id: String,
    /// Ed25519, 64 hex digits.
    public_key: String,
    serial: u64,
    coordinators: Vec<CoordinatorSchema>,
    #[schema(format = DateTime)]
    issued_at: String,
    /// 128 hex digits; what is signed stands in docs/protocols.md.
    signature: String,
}

#[derive(ToSchema)]
#[schema(as = Coordinator)]
#[expect(dead_code, reason = "the schema of a type of another crate")]
pub struct CoordinatorSchema {
    peer_id: String,
    addrs: Vec<String>,
}

/// The network document. Nodes pin its network id at their first contact.
#[utoipa::path(get, path = "/network", tag = "nodes", responses(
    (status = 200, body = NetworkDocumentSchema)))]
pub async fn network(State(app): State<Arc<App>>) -> Json<NetworkDocument> {
    Json(NetworkDocument::clone(&app.document.get()))
}

/// A storage node as everybody may see it.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeView {
    node_id: Uuid,
    name: String,
    peer_id: String,
    #[schema(example = "probation")]
    state: &'static str,
    state_reason: String,
    #[schema(value_type = String, format = DateTime)]
    state_since: Timestamp,
    /// Gets nothing new for a day, since half of its proofs failed at once.
    on_hold: bool,
    online: bool,
    region: Option<String>,
    capacity_bytes: u64,
    used_bytes: u64,
    blob_count: u64,
    /// Reputation in parts per million.
    #[schema(example = 1_000_000)]
    score_ppm: u32,
    /// Uptime on the last day that was settled; `null` before the first.
    uptime_ppm: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
}

fn view(app: &App, node: Node, uptime_ppm: Option<u32>) -> NodeView {
    // What is in memory here is newer than what the liveness worker has written.
    let live = app
        .fleet
        .member(node.id)
        .filter(|member| member.is_online())
        .map(|member| member.live());
    let on_hold = node.is_on_hold(clock::now());
    NodeView {
        node_id: node.id.as_uuid(),
        name: node.name,
        peer_id: node.peer_id.to_string(),
        state: node.state.name(),
        state_reason: node.state_reason,
        state_since: node.state_since,
        on_hold,
        online: live.is_some(),
        region: node.region,
        capacity_bytes: live.map_or(node.capacity_bytes, |live| live.capacity_bytes),
        used_bytes: live.map_or(node.used_bytes, |live| live.used_bytes),
        blob_count: live.map_or(node.blob_count, |live| live.blob_count),
        score_ppm: node.score_ppm,
        uptime_ppm,
        last_seen_at: node.last_seen_at,
    }
}

/// All nodes, in the order of their registration.
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(PageParams), responses(
    (status = 200, body = Page<NodeView>)))]
pub async fn list(
    State(app): State<Arc<App>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<NodeView>>, Problem> {
    let (limit, after) = (page.limit()?, page.position::<NodeId>()?);
    let mut connection = app.db.acquire().await?;
    let rows = db::nodes::list(&mut connection, after, limit as i64 + 1).await?;
    let ids: Vec<NodeId> = rows.iter().map(|node| node.id).collect();
    let uptimes = db::uptime::last_of(&mut connection, &ids).await?;
    let view = |node: Node| {
        let uptime_ppm = uptimes.get(&node.id).copied();
        view(&app, node, uptime_ppm)
    };
    let page = Page::new(rows, limit, |node| node.id, view);
    Ok(Json(page))
}

/// A node with its history.
#[derive(Serialize, ToSchema)]
pub struct NodeDetail {
    #[serde(flatten)]
    node: NodeView,
    /// The last twenty changes of its state, the newest first.
    state_history: Vec<StateChangeView>,
}

#[derive(Serialize, ToSchema)]
pub struct StateChangeView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(example = "active")]
    from: String,
    #[schema(example = "suspended")]
    to: String,
    /// `audit`, `admin`, `gone` or `operator`.
    #[schema(example = "audit")]
    cause: String,
    reason: String,
}

/// One node.
#[utoipa::path(get, path = "/nodes/{id}", tag = "nodes", params(("id" = Uuid, Path)), responses(
    (status = 200, body = NodeDetail), (status = 404, description = "No such node")))]
pub async fn one(
    State(app): State<Arc<App>>,
    Id(id): Id<NodeId>,
) -> Result<Json<NodeDetail>, Problem> {
    let mut connection = app.db.acquire().await?;
    let node = db::nodes::by_id(&mut connection, id)
        .await?
        .ok_or_else(|| Problem::not_found("node"))?;
    let uptimes = db::uptime::last_of(&mut connection, &[id]).await?;
    let history = db::node_standing::history(&mut connection, id, HISTORY).await?;
    let state_history = history.into_iter().map(|change| StateChangeView {
        at: change.at,
        from: change.from,
        to: change.to,
        cause: change.cause,
        reason: change.reason,
    });
    Ok(Json(NodeDetail {
        node: view(&app, node, uptimes.get(&id).copied()),
        state_history: state_history.collect(),
    }))
}

#[derive(Serialize, ToSchema)]
pub struct Nonce {
    /// 64 hex digits, good for one registration.
    nonce: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A single-use number for `nodes/register`.
#[utoipa::path(post, path = "/nodes/register/nonce", tag = "nodes", responses(
    (status = 201, body = Nonce), (status = 429, description = "Too many from this address")))]
pub async fn nonce(
    State(app): State<Arc<App>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
) -> Result<(StatusCode, Json<Nonce>), Problem> {
    limits.check_nonce(address)?;
    let (nonce, expires_at) = nodes::hand_out_nonce(&app).await?;
    let nonce = Nonce {
        nonce: hex::encode(nonce),
        expires_at,
    };
    Ok((StatusCode::CREATED, Json(nonce)))
}

#[derive(Deserialize, ToSchema)]
pub struct RegisterBody {
    peer_id: String,
    name: String,
    capacity_bytes: u64,
    region: Option<String>,
    /// From `nodes/register/nonce`.
    nonce: String,
    /// Ed25519 by the node's identity over the registration statement, 128 hex digits.
    signature: String,
    /// An admission token, where the network asks for one; it names the node's operator.
    token: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct RegisteredNode {
    node_id: Uuid,
    /// Shown this once.
    api_key: String,
    network_id: String,
    state: &'static str,
}

/// Register a node, or get a new API key for a registered one.
#[utoipa::path(post, path = "/nodes/register", tag = "nodes", request_body = RegisterBody, responses(
    (status = 201, body = RegisteredNode),
    (status = 403, description = "The network does not admit this node"),
    (status = 422, description = "The nonce or the signature is not good")))]
pub async fn register(
    State(app): State<Arc<App>>,
    Json(body): Json<RegisterBody>,
) -> Result<(StatusCode, Json<RegisteredNode>), Problem> {
    let request = nodes::RegisterRequest {
        peer_id: body
            .peer_id
            .parse()
            .map_err(|error| Problem::invalid(format!("`peer_id` is not one: {error}.")))?,
        name: NodeName::try_from(body.name)?,
        region: body.region.map(Region::try_from).transpose()?,
        capacity_bytes: body.capacity_bytes,
        nonce: fixed_hex("nonce", &body.nonce)?,
        signature: Signature::from_bytes(fixed_hex("signature", &body.signature)?),
        token: body.token.map(Zeroizing::new),
    };
    let registered = nodes::register(&app, &request).await?;
    let registered = RegisteredNode {
        node_id: registered.node_id.as_uuid(),
        api_key: registered.api_key.to_string(),
        network_id: app.keys.network_id.to_string(),
        state: registered.state.name(),
    };
    Ok((StatusCode::CREATED, Json(registered)))
}

fn fixed_hex<const N: usize>(name: &str, text: &str) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| Problem::invalid(format!("`{name}` must be {} hex digits.", 2 * N)))?;
    Ok(bytes)
}

#[derive(Serialize, ToSchema)]
pub struct NodeToken {
    /// Shown this once. Pass it to `storage-node init --token`.
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// An admission token that lets one node in and makes the caller its operator.
#[utoipa::path(post, path = "/nodes/tokens", tag = "nodes", security(("bearer" = [])), responses(
    (status = 201, body = NodeToken)))]
pub async fn create_token(
    State(app): State<Arc<App>>,
    User(caller): User,
) -> Result<(StatusCode, Json<NodeToken>), Problem> {
    let mut connection = app.db.acquire().await?;
    let (token, expires_at) = nodes::create_token(&mut connection, Some(caller.user_id)).await?;
    let token = NodeToken {
        token: token.to_string(),
        expires_at,
    };
    Ok((StatusCode::CREATED, Json(token)))
}
