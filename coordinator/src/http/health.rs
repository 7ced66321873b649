//! Whether the coordinator is alive, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Json;
use crate::app::App;

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or `unavailable` when the database does not answer.
    status: &'static str,
    version: &'static str,
    database: bool,
    nodes_online: usize,
}

/// How the coordinator is.
#[utoipa::path(get, path = "/health", tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let query = sqlx::query("SELECT 1").execute(&app.db);
    let database = matches!(
        tokio::time::timeout(Duration::from_secs(2), query).await,
        Ok(Ok(_))
    );
    let (code, status) = if database {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let health = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        database,
        nodes_online: app.fleet.online().len(),
    };
    (code, Json(health))
}

/// Whether the coordinator can serve: as `/health`, under the name that orchestrators ask for.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, body = Health), (status = 503, body = Health)))]
pub async fn readyz(app: State<Arc<App>>) -> (StatusCode, Json<Health>) {
    health(app).await
}

/// The process runs.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200)))]
pub async fn livez() -> StatusCode {
    StatusCode::OK
}
