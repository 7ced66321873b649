//! What keeps browsers from being used against their owners.

use coordinator::http::metrics_router;
use http::StatusCode;
use kit::Statuses;
use sqlx::PgPool;

use crate::support::{Client, Coordinator};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn metrics_of_this_machine_are_for_no_name_that_others_can_point_at_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let metrics = metrics_router(&coordinator.app, Statuses::default());
    let metrics = Client::new(metrics, None);
    for path in ["/metrics", "/jobs"] {
        let ask = async |host: &str| {
            let call = metrics.call(http::Method::GET, path).header("host", host);
            call.send().await.status
        };
        assert_eq!(ask("127.0.0.1:9100").await, StatusCode::OK);
        assert_eq!(ask("localhost:9100").await, StatusCode::OK);
        assert_eq!(ask("evil.example").await, StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(metrics.get(path).await.status, StatusCode::OK);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nothing_that_is_answered_runs_as_a_page_or_stands_in_a_frame(pool: PgPool) {
    let settings = ["http.public_url=https://storage.example.com"];
    let client = Coordinator::with(pool, &settings).await.visitor();
    for path in [
        "/api/v1/network",
        "/api/v1/auth/me",
        "/nothing",
        "/docs/",
        "/api/v1/openapi.json",
        "/health",
    ] {
        let answer = client.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(policy.contains("base-uri 'none'"), "{path}: {policy}");
        let transport = answer.header("strict-transport-security");
        assert_eq!(transport, "max-age=31536000; includeSubDomains", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_about_somebody_stays_in_no_cache(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    for path in ["/api/v1/auth/me", "/api/v1/files", "/api/v1/nothing"] {
        let answer = client.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let file = client.upload("a", b"x").await;
    let content = client.download(&file).await;
    assert_eq!(content.header("cache-control"), "private, no-cache");
}
