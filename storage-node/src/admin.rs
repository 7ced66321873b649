//! The HTTP API for the node's operator, on localhost. Reading is free, changing needs the token
//! from `admin.token`, which only the operator's account can read.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use proto::BlobId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

use crate::coordinator_api::{ApiError, CoordinatorApi};
use crate::peers::{PeerNetwork, PeersReport};
use crate::state::{DRAINING, NodeStatus, State};
use crate::store::{BlobState, Row};
use crate::volume::Credentials;

pub const DEFAULT_PAGE: u32 = 100;
pub const MAX_PAGE: u32 = 1000;

/// Whose node it is.
pub struct Operator {
    /// Whoever has it may change things.
    pub token: String,
    /// Where the node asks the network for what its operator wants, and as whom.
    pub api: CoordinatorApi,
    pub credentials: Credentials,
}

#[derive(Clone)]
struct Admin {
    state: Arc<State>,
    peers: PeerNetwork,
    operator: Arc<Operator>,
}

pub fn router(state: Arc<State>, peers: PeerNetwork, operator: Operator) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/peers", get(peers_report))
        .route("/chunks", get(chunks))
        .route("/drain", post(drain))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this takes another method")
        })
        .with_state(Admin {
            state,
            peers,
            operator: operator.into(),
        })
}

/// 503 while the disk refuses writes or the node shuts down.
async fn health(Shared(admin): Shared<Admin>) -> Response {
    if let Some(fault) = admin.state.store.fault().await {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, fault).into_response();
    }
    if admin.state.is_stopping() {
        let detail = "the node is shutting down";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}

async fn status(Shared(admin): Shared<Admin>) -> Result<Json<NodeStatus>, Problem> {
    Ok(Json(admin.state.status().await.map_err(Problem::internal)?))
}

async fn peers_report(Shared(admin): Shared<Admin>) -> Json<PeersReport> {
    Json(PeersReport::of(&admin.state, &admin.peers).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunksQuery {
    limit: Option<u32>,
    cursor: Option<BlobId>,
}

/// A blob as it is listed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChunkView {
    pub blob_id: BlobId,
    pub length: u64,
    pub state: BlobState,
    pub stored_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ChunkPage {
    pub items: Vec<ChunkView>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<BlobId>,
}

impl ChunkPage {
    /// `rows` are one more than the page holds, if there are that many.
    pub fn new(mut rows: Vec<Row>, limit: u32) -> Self {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Self {
            next_cursor: rows.last().map(|row| row.id).filter(|_| more),
            items: rows.iter().map(ChunkView::of).collect(),
        }
    }
}

impl ChunkView {
    pub fn of(row: &Row) -> Self {
        let stored_at = i64::try_from(row.stored_at_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Self {
            blob_id: row.id,
            length: row.length,
            state: row.state,
            stored_at: stored_at.unwrap_or(Timestamp::MAX),
        }
    }
}

async fn chunks(
    Shared(admin): Shared<Admin>,
    query: Result<Query<ChunksQuery>, QueryRejection>,
) -> Result<Json<ChunkPage>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format!("limit must be 1 to {MAX_PAGE}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let state = Arc::clone(&admin.state);
    let rows = spawn_blocking(move || state.store.page(query.cursor.as_ref(), limit + 1));
    let rows = rows
        .await
        .map_err(Problem::internal)?
        .map_err(Problem::internal)?;
    Ok(Json(ChunkPage::new(rows, limit)))
}

/// Asks the coordinator to drain this node, and answers what it says.
async fn drain(Shared(admin): Shared<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let operator = &admin.operator;
    let token = operator.token.as_bytes();
    let allowed = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token)));
    if !allowed {
        let detail = "send `Authorization: Bearer <token>`; the token is in admin.token in the \
                      node's data directory";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    }
    let progress = operator.api.drain(&operator.credentials).await;
    let progress = progress.map_err(|error| match error.downcast_ref::<ApiError>() {
        Some(ApiError::Refused { status, reason }) => Problem::new(*status, reason),
        Some(ApiError::Unreachable { .. }) => {
            Problem::new(StatusCode::BAD_GATEWAY, error.to_string())
        }
        None => Problem::internal(format!("{error:#}")),
    })?;
    if progress.state == DRAINING {
        admin.state.note_draining();
    }
    tracing::info!(state = progress.state, "the operator asked to drain");
    Ok((StatusCode::ACCEPTED, Json(progress)).into_response())
}

/// RFC 9457
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    fn internal(error: impl std::fmt::Display) -> Self {
        let detail = format!("{error:#}");
        tracing::error!(error = detail, "an admin request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, json, body.to_string()).into_response()
    }
}
