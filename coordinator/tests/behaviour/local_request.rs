//! `coordinator health` and `coordinator admin jobs`, asked of a coordinator that listens.

use coordinator::http::{metrics_router, server};
use coordinator::local_request;
use kit::Statuses;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::Coordinator;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn health_is_good_while_the_database_answers_and_an_error_otherwise(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let listen = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server::serve(
        listener,
        coordinator.router.clone(),
        coordinator.app.config.http.clone(),
        stop.clone(),
    ));
    let health = local_request::health(listen).await.unwrap();
    assert!(health.contains(r#""status":"ok""#), "{health}");

    pool.close().await;
    let error = local_request::health(listen).await.unwrap_err().to_string();
    assert!(error.contains("cannot serve (503)"), "{error}");

    stop.cancel();
    serving.await.unwrap();
    let error = local_request::health(listen).await.unwrap_err().to_string();
    assert!(error.contains("is it running?"), "{error}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_jobs_are_told_beside_the_metrics(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server::serve(
        listener,
        metrics_router(&coordinator.app, Statuses::default()),
        coordinator.app.config.http.clone(),
        stop.clone(),
    ));
    let answer = local_request::get(listen, api::paths::LOCAL_JOBS, "metrics.listen").await;
    let jobs: api::jobs::Jobs = serde_json::from_str(&answer.unwrap().good().unwrap()).unwrap();
    assert!(jobs.items.is_empty());
    stop.cancel();
    serving.await.unwrap();
}
