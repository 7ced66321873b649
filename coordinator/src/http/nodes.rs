//! `/network` and `/nodes`.

use std::sync::Arc;

use api::network::{NetworkDocument, NetworkDocumentSchema};
use api::nodes::{NodeDetail, NodeToken, Nonce, RegisterBody, RegisteredNode, StateChangeView};
use api::page::{Page, PageParams};
use api::paths;
use api::summary::Summary;
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use proto::{NodeId, RegistrationForm, Signature};
use zeroize::Zeroizing;

use super::authorization::{Account, User};
use super::extract::{ClientAddr, Id, Json, Params};
use super::page;
use super::problem::Problem;
use super::rate_limit::{AccountLimits, AuthLimits};
use crate::accounts::Accounts;
use crate::durability::{Durability, summary};
use crate::fleet::lookup::{self, Listed};
use crate::fleet::{Nodes, node_tokens, registration};
use crate::security::EventKind;
use rules::reputation::hold;

use model::names::{NodeName, Region};

/// The network document. Nodes pin its network id at their first contact.
#[utoipa::path(get, path = paths::NETWORK, tag = "nodes", responses(
    (status = 200, body = NetworkDocumentSchema)))]
pub(super) async fn network(State(nodes): State<Arc<Nodes>>) -> Json<NetworkDocument> {
    Json(NetworkDocument::clone(&nodes.document.get()))
}

/// How the network does: nodes, what they hold, what they proved, what waits for repair. A few seconds old.
#[utoipa::path(get, path = paths::NETWORK_SUMMARY, tag = "nodes", responses(
    (status = 200, body = Summary)))]
pub(super) async fn summary(
    State(durability): State<Arc<Durability>>,
) -> Result<Json<Summary>, Problem> {
    let summary = summary::summary(&durability).await?;
    Ok(Json(Summary::clone(&summary)))
}

fn view(nodes: &Nodes, listed: Listed) -> api::nodes::Node {
    let Listed { node, uptime_ppm } = listed;
    // What is in memory here is newer than what the liveness worker has written.
    let live = nodes
        .fleet
        .member(node.id)
        .filter(|member| member.is_online())
        .map(|member| member.live());
    let hold = hold(&node.holds, nodes.clock.now());
    api::nodes::Node {
        node_id: node.id,
        name: node.name,
        peer_id: node.peer_id.to_string(),
        state: node.state.name().to_owned(),
        state_reason: node.state_reason,
        state_since: node.state_since,
        on_hold: hold.is_some(),
        hold_reason: hold.map(|hold| hold.reason().to_owned()),
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
#[utoipa::path(get, path = paths::NODES, tag = "nodes", params(PageParams), responses(
    (status = 200, body = Page<api::nodes::Node>)))]
pub(super) async fn list(
    State(nodes): State<Arc<Nodes>>,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<api::nodes::Node>>, Problem> {
    let (limit, after) = (page::limit(&params)?, page::position::<NodeId>(&params)?);
    let rows = lookup::list(&nodes, after, limit as i64 + 1).await?;
    let view = |listed| view(&nodes, listed);
    Ok(Json(page::of(rows, limit, |listed| listed.node.id, view)))
}

/// One node.
#[utoipa::path(get, path = paths::NODE, tag = "nodes", params(("id" = Uuid, Path)), responses(
    (status = 200, body = NodeDetail), (status = 404, description = "No such node")))]
pub(super) async fn one(
    State(nodes): State<Arc<Nodes>>,
    Id(id): Id<NodeId>,
) -> Result<Json<NodeDetail>, Problem> {
    let (listed, history) = lookup::with_history(&nodes, id)
        .await?
        .ok_or_else(|| Problem::not_found("node"))?;
    let state_history = history.into_iter().map(|change| StateChangeView {
        at: change.at,
        from: change.from,
        to: change.to,
        cause: change.cause,
        reason: change.reason,
    });
    Ok(Json(NodeDetail {
        node: view(&nodes, listed),
        state_history: state_history.collect(),
    }))
}

/// A single-use number for `nodes/register`.
#[utoipa::path(post, path = paths::NODE_NONCE, tag = "nodes", responses(
    (status = 201, body = Nonce), (status = 429, description = "Too many from this address")))]
pub(super) async fn nonce(
    State(nodes): State<Arc<Nodes>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
) -> Result<(StatusCode, Json<Nonce>), Problem> {
    limits.check_nonce(address)?;
    let (nonce, expires_at) = registration::hand_out_nonce(&nodes).await?;
    let nonce = Nonce {
        nonce: hex::encode(nonce),
        expires_at,
        newest_form: Some(RegistrationForm::V2.number()),
    };
    Ok((StatusCode::CREATED, Json(nonce)))
}

/// Register a node, or get a new API key for a registered one.
#[utoipa::path(post, path = paths::NODE_REGISTER, tag = "nodes", request_body = RegisterBody, responses(
    (status = 201, body = RegisteredNode),
    (status = 403, description = "The network does not admit this node"),
    (status = 422, description = "The nonce or the signature is not good")))]
pub(super) async fn register(
    State(nodes): State<Arc<Nodes>>,
    State(accounts): State<Arc<Accounts>>,
    Json(body): Json<RegisterBody>,
) -> Result<(StatusCode, Json<RegisteredNode>), Problem> {
    let form = RegistrationForm::of_number(body.form.unwrap_or(1));
    let form = form
        .ok_or_else(|| Problem::invalid("`form` must be 1 or 2, or left out for 1.".to_owned()))?;
    let request = registration::RegisterRequest {
        peer_id: body
            .peer_id
            .parse()
            .map_err(|error| Problem::invalid(format!("`peer_id` is not one: {error}.")))?,
        name: NodeName::try_from(body.name)?,
        region_said: body.region.clone(),
        region: body.region.map(Region::try_from).transpose()?,
        capacity_bytes: body.capacity_bytes,
        nonce: fixed_hex("nonce", &body.nonce)?,
        form,
        signature: Signature::from_bytes(fixed_hex("signature", &body.signature)?),
        token: body.token.map(Zeroizing::new),
    };
    let registered = registration::register(&nodes, &request).await;
    let registered = registered.inspect_err(|_| {
        accounts.security.refused(EventKind::NodeAdmitted, None);
    })?;
    let registered = RegisteredNode {
        node_id: registered.node_id,
        api_key: registered.api_key.to_string(),
        network_id: nodes.network_id,
        state: registered.state.name().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(registered)))
}

fn fixed_hex<const N: usize>(name: &str, text: &str) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| Problem::invalid(format!("`{name}` must be {} hex digits.", 2 * N)))?;
    Ok(bytes)
}

/// An admission token that lets one node in and makes the caller its operator.
#[utoipa::path(post, path = paths::NODE_TOKENS, tag = "nodes", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 201, body = NodeToken),
    (status = 403, description = "The account may not add nodes, or has as many as it may have"),
    (status = 429, description = "Too many tokens, or too many that wait for their node")))]
pub(super) async fn create_token(
    State(nodes): State<Arc<Nodes>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
) -> Result<(StatusCode, Json<NodeToken>), Problem> {
    limits.check_node_token(caller.user_id)?;
    let (token, expires_at) = node_tokens::create_for(&nodes, caller.user_id, caller.role).await?;
    let token = NodeToken {
        token: token.to_string(),
        expires_at,
    };
    Ok((StatusCode::CREATED, Json(token)))
}
