//! Whether the coordinator is alive, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use api::health::Health;
use api::paths;
use axum::extract::State;
use http::StatusCode;

use super::extract::Json;
use crate::database;
use crate::fleet::Nodes;

/// How the coordinator is.
#[utoipa::path(get, path = paths::HEALTH, tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn health(State(nodes): State<Arc<Nodes>>) -> (StatusCode, Json<Health>) {
    let database = database::answers(&nodes.db, Duration::from_secs(2)).await;
    let (code, status) = if database {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let health = Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database,
        nodes_online: nodes.fleet.online().len(),
    };
    (code, Json(health))
}

/// Whether the coordinator can serve: as `/health`, under the name that orchestrators ask for.
#[utoipa::path(get, path = paths::READYZ, tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn readyz(nodes: State<Arc<Nodes>>) -> (StatusCode, Json<Health>) {
    health(nodes).await
}

/// The process runs.
#[utoipa::path(get, path = paths::LIVEZ, tag = "service", responses((status = 200)))]
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}
