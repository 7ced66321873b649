//! Whether the coordinator is alive, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use api::health::Health;
use api::paths;
use axum::extract::State;
use http::StatusCode;

use super::extract::Json;
use crate::billing::Billing;
use crate::database::clocks::clock_ahead;
use crate::fleet::Nodes;
use rules::clocks;

/// How the coordinator is.
#[utoipa::path(get, path = paths::HEALTH, tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn health(
    State(nodes): State<Arc<Nodes>>,
    State(billing): State<Arc<Billing>>,
) -> (StatusCode, Json<Health>) {
    let asked = clock_ahead(&nodes.db, &nodes.clock);
    let asked = tokio::time::timeout(Duration::from_secs(2), asked).await;
    let ahead = asked.ok().and_then(Result::ok);
    let database = ahead.is_some();
    let (code, status) = if database {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let health = Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database,
        clocks_apart_seconds: ahead
            .filter(|ahead| !clocks::agree(*ahead))
            .map(|ahead| ahead.as_secs()),
        nodes_online: nodes.fleet.online().len(),
        payments: billing
            .provider()
            .ok()
            .map(|provider| provider.name().to_string()),
    };
    (code, Json(health))
}

/// Whether the coordinator can serve: as `/health`, under the name that orchestrators ask for.
#[utoipa::path(get, path = paths::READYZ, tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn readyz(
    nodes: State<Arc<Nodes>>,
    billing: State<Arc<Billing>>,
) -> (StatusCode, Json<Health>) {
    health(nodes, billing).await
}

/// The process runs.
#[utoipa::path(get, path = paths::LIVEZ, tag = "service", responses((status = 200)))]
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}
