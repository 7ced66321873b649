//! The HTTP API for the node's operator, on localhost. Reading is free, changing needs the token
//! from `admin.token`, which only the operator's account can read.

mod figures;
mod metrics;
mod page;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use api::drain::DrainView;
use api::problem::CONTENT_TYPE as PROBLEM_TYPE;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use blobstore::{BlobState, Row};
use jiff::Timestamp;
use kit::metrics::CONTENT_TYPE;
use kit::own_host;
use proto::BlobId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

use crate::membership::{ApiError, CoordinatorApi, DRAINING, reason};
use crate::peers::{PeerNetwork, PeersReport};
use crate::volume::Credentials;

pub(crate) use metrics::{Exposition, PREFIX};
pub(crate) use status::{Activity, NodeStatus, Subject};

pub(crate) const DEFAULT_PAGE: u32 = 100;
pub(crate) const MAX_PAGE: u32 = 1000;

/// Whose node it is.
pub(crate) struct Operator {
    /// Whoever has it may change things.
    pub token: String,
    /// Where the node asks the network for what its operator wants, and as whom.
    pub api: CoordinatorApi,
    pub credentials: Credentials,
}

#[derive(Clone)]
struct Admin {
    node: Arc<Subject>,
    peers: PeerNetwork,
    operator: Arc<Operator>,
    /// What the network says of the node, for the page.
    said: Arc<figures::Said>,
    exposition: Arc<Exposition>,
}

pub(crate) fn router(
    listen: SocketAddr,
    node: Subject,
    peers: PeerNetwork,
    operator: Operator,
    exposition: Exposition,
) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/metrics", get(metrics_of))
        .route("/peers", get(peers_report))
        .route("/chunks", get(chunks))
        .route("/drain", post(drain))
        .route("/", get(page::show))
        .route("/style.css", get(page::style))
        .route("/leave", post(page::leave))
        .route("/stay", post(page::stay))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this takes another method")
        })
        .layer(middleware::from_fn_with_state(listen, check_host))
        .with_state(Admin {
            node: node.into(),
            peers,
            operator: operator.into(),
            said: Arc::default(),
            exposition: exposition.into(),
        })
}

/// No page elsewhere reads or changes anything through a browser on this machine.
async fn check_host(State(listen): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let mut response = match own_host::answers_to(listen, host.map(HeaderValue::as_bytes)) {
        true => next.run(request).await,
        false => {
            let detail =
                "this listener answers to addresses and to localhost, and to no other name";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
        }
    };
    let headers = response.headers_mut();
    // The page says for itself what it loads.
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    let said = headers.entry(header::CONTENT_SECURITY_POLICY);
    said.or_insert(policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// 503 while the disk refuses writes or the node shuts down.
async fn health(State(admin): State<Admin>) -> Response {
    if let Some(fault) = admin.node.store.fault().await {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, fault).into_response();
    }
    if admin.node.lifecycle.is_stopping() {
        let detail = "the node is shutting down";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}

async fn status(State(admin): State<Admin>) -> Result<Json<NodeStatus>, Problem> {
    let status = NodeStatus::of(&admin.node).await;
    Ok(Json(status.map_err(Problem::internal)?))
}

async fn metrics_of(State(admin): State<Admin>) -> Result<Response, Problem> {
    let status = NodeStatus::of(&admin.node).await;
    let text = admin.exposition.text(&status.map_err(Problem::internal)?);
    let text = text.map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn peers_report(State(admin): State<Admin>) -> Json<PeersReport> {
    let is_coordinator = |peer: &_| admin.node.coordinators.contains(peer);
    Json(PeersReport::of(&admin.peers, is_coordinator).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunksQuery {
    limit: Option<u32>,
    cursor: Option<BlobId>,
}

/// A blob as it is listed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChunkView {
    pub blob_id: BlobId,
    pub length: u64,
    pub state: BlobState,
    pub stored_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChunkPage {
    pub items: Vec<ChunkView>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<BlobId>,
}

impl ChunkPage {
    /// `rows` are one more than the page holds, if there are that many.
    pub(crate) fn new(mut rows: Vec<Row>, limit: u32) -> Self {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Self {
            next_cursor: rows.last().map(|row| row.id).filter(|_| more),
            items: rows.iter().map(ChunkView::of).collect(),
        }
    }
}

impl ChunkView {
    pub(crate) fn of(row: &Row) -> Self {
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
    State(admin): State<Admin>,
    query: Result<Query<ChunksQuery>, QueryRejection>,
) -> Result<Json<ChunkPage>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format!("limit must be 1 to {MAX_PAGE}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let store = admin.node.store.clone();
    let rows = spawn_blocking(move || store.page(query.cursor.as_ref(), limit + 1));
    let rows = rows
        .await
        .map_err(Problem::internal)?
        .map_err(Problem::internal)?;
    Ok(Json(ChunkPage::new(rows, limit)))
}

/// Asks the coordinator to drain this node, and answers what it says.
async fn drain(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !given.is_some_and(|given| admin.operator.is_token(given)) {
        let detail = "send `Authorization: Bearer <token>`; the token is in admin.token in the \
                      node's data directory";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    }
    let progress = admin.begin_drain().await?;
    Ok((StatusCode::ACCEPTED, Json(progress)).into_response())
}

impl Operator {
    fn is_token(&self, given: &str) -> bool {
        given.as_bytes().ct_eq(self.token.as_bytes()).into()
    }
}

impl Admin {
    async fn begin_drain(&self) -> Result<DrainView, Problem> {
        let operator = &self.operator;
        let progress = operator.api.drain(&operator.credentials).await;
        let progress = progress.map_err(refused)?;
        if progress.state == DRAINING {
            self.node.coordinators.note_draining();
        }
        tracing::info!(state = progress.state, "the operator asked to drain");
        Ok(progress)
    }
}

/// What the coordinator says, or that it says nothing.
fn refused(error: anyhow::Error) -> Problem {
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Refused(problem)) => {
            let status = StatusCode::from_u16(problem.status);
            Problem::new(status.unwrap_or(StatusCode::BAD_GATEWAY), reason(problem))
        }
        Some(ApiError::Unreachable { .. } | ApiError::Elsewhere { .. }) => {
            Problem::new(StatusCode::BAD_GATEWAY, error.to_string())
        }
        None => Problem::internal(format!("{error:#}")),
    }
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
        let json = [(header::CONTENT_TYPE, PROBLEM_TYPE)];
        (self.status, json, body.to_string()).into_response()
    }
}
