//! `coordinator health`, asked of a coordinator that listens.

use coordinator::health_check;
use coordinator::http::server;
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
    let health = health_check::run(listen).await.unwrap();
    assert!(health.contains(r#""status":"ok""#), "{health}");

    pool.close().await;
    let error = health_check::run(listen).await.unwrap_err().to_string();
    assert!(error.contains("cannot serve (503)"), "{error}");

    stop.cancel();
    serving.await.unwrap();
    let error = health_check::run(listen).await.unwrap_err().to_string();
    assert!(error.contains("is it running?"), "{error}");
}
