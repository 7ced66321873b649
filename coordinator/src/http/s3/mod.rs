//! S3, on a listener of its own: whatever comes goes to the crate `gateway`, within the bounds that all requests have.

mod errors;
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware;
use axum::response::Response;
use gateway::{S3Gateway, S3Settings};
use http::StatusCode;
use hyper::body::Body as _;
use tower_http::catch_panic::CatchPanicLayer;

use self::store::CoordinatorStore;
pub(super) use self::store::rights_of;
use super::client_address;
use super::observe;
use super::paced_body::PacedBody;
use super::requests_per_address::{self, RequestLimit};
use super::state::ApiState;
use crate::compose::Coordinator;
use crate::config::HttpConfig;
use kit::Statuses;

#[derive(Clone)]
struct S3 {
    gateway: S3Gateway,
    http: Arc<HttpConfig>,
    idle_timeout: Duration,
}

/// Everything that is served to clients of S3.
pub fn router(coordinator: &Coordinator) -> anyhow::Result<Router> {
    let config = &coordinator.config;
    let settings = S3Settings {
        region: config.s3.region.clone(),
        domain: config.s3.domain.clone(),
    };
    let store = CoordinatorStore {
        objects: Arc::clone(&coordinator.objects),
        accounts: Arc::clone(&coordinator.accounts),
    };
    let http = Arc::new(config.http.clone());
    let s3 = S3 {
        gateway: S3Gateway::new(store, &settings)?,
        idle_timeout: http.idle_timeout,
        http: Arc::clone(&http),
    };
    let state = ApiState::of(coordinator, Statuses::default());
    Ok(Router::new()
        .fallback(answer)
        .with_state(s3)
        .layer(middleware::from_fn_with_state(
            RequestLimit::new(http),
            requests_per_address::limit,
        ))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(state, observe::observe)))
}

async fn answer(State(s3): State<S3>, request: Request) -> Response {
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(connected)) = connected else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let from = client_address::client_of(&s3.http, connected.ip(), request.headers());
    // That nothing comes has to stay known: without it a length is asked for.
    let paced = |body: Body| match body.is_end_stream() {
        true => Body::empty(),
        false => Body::from_stream(PacedBody::new(body, s3.idle_timeout)),
    };
    let response = s3.gateway.serve(request.map(paced), from).await;
    response.map(Body::new)
}
