//! Whatever goes wrong is told in one shape: RFC 9457, with a request id.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{Coordinator, content};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_address_that_is_not_served_and_a_wrong_method_are_told_apart(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/files",
        "/docs/nothing",
    ] {
        client.get(path).await.problem(404, "no-such-route");
    }
    let wrong = client.call(Method::PATCH, "/api/v1/files").send().await;
    let problem = wrong.problem(405, "method-not-allowed");
    assert_eq!(problem["instance"], "/api/v1/files");
    let mut allowed: Vec<_> = wrong.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST", "PUT"]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_id_that_names_nothing_is_404_whatever_it_looks_like(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let unknown = Uuid::from_u128(7).to_string();
    for id in [
        &*unknown,
        "1",
        "not-a-uuid",
        "%00",
        "%FF",
        "'; DROP TABLE files",
    ] {
        let id = id.replace(' ', "%20");
        for path in [
            format!("/api/v1/files/{id}"),
            format!("/api/v1/files/{id}/download"),
            format!("/api/v1/files/upload/{id}"),
            format!("/api/v1/nodes/{id}"),
        ] {
            client.get(&path).await.problem(404, "not-found");
        }
        for path in [
            format!("/api/v1/files/{id}"),
            format!("/api/v1/files/upload/{id}"),
        ] {
            client.delete(&path).await.problem(404, "not-found");
        }
        let chunk = client.put(&format!("/api/v1/files/upload/{id}/chunk?index=0"));
        chunk.body("x").send().await.problem(404, "not-found");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn json_is_read_without_a_content_type_and_refused_when_it_is_not_json(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let register = |body: String| {
        let call = client.post("/api/v1/auth/register").body(body);
        async move { call.send().await }
    };
    for bad in [
        "",
        "{",
        "null",
        "[]",
        "\"text\"",
        "{}",
        "{\"email\": 1, \"password\": \"test123\"}",
        "{\"email\": \"a@b\"}",
        "{\"email\": \"a@b\", \"password\": \"test123\"} trailing",
        "\u{feff}{\"email\": \"a@b\", \"password\": \"test123\"}",
    ] {
        register(bad.to_owned())
            .await
            .problem(400, "invalid-request");
    }
    let more = r#"{"email": "a@example.com", "password": "test123", "unknown": [1]}"#;
    register(more.to_owned())
        .await
        .problem(400, "invalid-request");
    let account = r#"{"email": "a@example.com", "password": "test123"}"#;
    register(account.to_owned())
        .await
        .expect(StatusCode::CREATED);
    let form = client.post("/api/v1/auth/login").body(account);
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    form.send().await.expect(StatusCode::OK);
    let deep = "[".repeat(60_000);
    register(deep).await.problem(400, "invalid-request");
    let oversized = format!("{{\"email\": \"{}\"}}", "x".repeat(70_000));
    register(oversized).await.problem(413, "body-too-large");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn limits_cursors_and_sorts_that_make_no_sense_are_refused(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    for limit in ["0", "1001", "-1", "99999999999", "ten", ""] {
        for list in ["files", "nodes", "credits/transactions"] {
            let path = format!("/api/v1/{list}?limit={limit}");
            client.get(&path).await.problem(400, "invalid-request");
        }
    }
    let id = Uuid::from_u128(1);
    let cursor = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let made_up = [
        (
            "-created_at",
            cursor(json!(["-009999-01-01T00:00:00Z", id])),
        ),
        ("-created_at", cursor(json!(["yesterday", id]))),
        ("name", cursor(json!(["nul\0", id]))),
        ("name", cursor(json!([1, id]))),
    ];
    let nowhere = [
        "!".to_owned(),
        "AAAA".to_owned(),
        cursor(json!(null)),
        cursor(json!([id])),
    ];
    let nowhere = nowhere.into_iter().flat_map(|made_up| {
        let sorts = ["name", "-created_at"];
        sorts.map(|sort| (sort, made_up.clone()))
    });
    for (sort, cursor) in made_up.into_iter().chain(nowhere) {
        let path = format!("/api/v1/files?sort={sort}&cursor={cursor}");
        client.get(&path).await.problem(400, "invalid-request");
        let path = format!("/api/v1/nodes?cursor={cursor}");
        client.get(&path).await.problem(400, "invalid-request");
    }
    for query in ["sort=size", "prefix=%00", "sort=name&sort=name"] {
        let answer = client.get(&format!("/api/v1/files?{query}")).await;
        answer.problem(400, "invalid-request");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_request_id_is_taken_over_when_it_can_be_logged(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let call = |id: &str| {
        let call = client.call(Method::GET, "/api/v1/nothing");
        call.header("x-request-id", id).send()
    };
    let echoed = call("trace-42").await;
    assert_eq!(
        echoed.problem(404, "no-such-route")["request_id"],
        "trace-42"
    );
    for unfit in ["", "two words", "tab\there", &"x".repeat(129)] {
        let own = call(unfit).await;
        let problem = own.problem(404, "no-such-route");
        let id = problem["request_id"].as_str().unwrap();
        assert!(Uuid::try_parse(id).is_ok(), "{id}");
    }
    let fine = client.get("/livez").await;
    assert!(Uuid::try_parse(fine.header("x-request-id")).is_ok());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_browser_may_call_the_api_and_read_its_errors(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let preflight = client
        .call(Method::OPTIONS, "/api/v1/files")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "PUT")
        .header(
            "access-control-request-headers",
            "authorization,idempotency-key",
        );
    let preflight = preflight.send().await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("PUT")
    );
    let headers = preflight.header("access-control-allow-headers");
    for header in [
        "authorization",
        "idempotency-key",
        "range",
        "if-range",
        "if-match",
        "content-digest",
    ] {
        let mut allowed = headers.split(',').map(str::trim);
        assert!(allowed.any(|allowed| allowed == header), "{header}");
    }

    for (path, status) in [("/livez", 200), ("/api/v1/files", 401), ("/api/v1/no", 404)] {
        let call = client.call(Method::GET, path);
        let answer = call
            .header("origin", "https://app.example.com")
            .send()
            .await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        for header in [
            "x-request-id",
            "ratelimit",
            "ratelimit-policy",
            "accept-ranges",
            "content-length",
            "content-range",
            "location",
            "repr-digest",
            "etag",
        ] {
            let mut exposed = exposed.split(',').map(str::trim);
            assert!(exposed.any(|exposed| exposed == header), "{header}");
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn only_the_listed_origins_are_allowed_where_there_is_a_list(pool: PgPool) {
    let settings = ["http.cors_origins=[\"https://app.example.com\"]"];
    let client = Coordinator::with(pool, &settings).await.visitor();
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://evil.example", false),
    ] {
        let answer = client.call(Method::GET, "/livez").header("origin", origin);
        let answer = answer.send().await;
        let told = answer.headers.contains_key("access-control-allow-origin");
        assert_eq!(told, allowed, "{origin}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn trying_passwords_is_slowed_down_and_the_client_told_for_how_long(pool: PgPool) {
    let settings = [
        "auth.requests_per_address=1000",
        "auth.requests_per_account=2",
    ];
    let client = Coordinator::with(pool, &settings).await.visitor();
    let attempt = |email: &str| {
        let body = json!({"email": email, "password": "guess123"}).to_string();
        let call = client.post("/api/v1/auth/login").body(body);
        async move { call.send().await }
    };
    for _ in 0..2 {
        attempt("a@example.com")
            .await
            .problem(401, "wrong-credentials");
    }
    let refused = attempt("A@EXAMPLE.COM").await;
    refused.problem(429, "too-many-requests");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&seconds), "{seconds}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        "\"per-account\";q=2;w=60"
    );
    assert!(
        refused
            .header("ratelimit")
            .starts_with("\"per-account\";r=0;t=")
    );
    attempt("b@example.com")
        .await
        .problem(401, "wrong-credentials");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whatever_others_try_the_right_password_lets_its_owner_in(pool: PgPool) {
    let settings = [
        "auth.requests_per_account=3",
        "http.trust_forwarded_for=true",
    ];
    let client = Coordinator::with(pool, &settings).await.visitor();
    let send = async |path: &str, from: &str, password: &str| {
        let body = json!({"email": "owner@example.com", "password": password});
        let call = client.post(&format!("/api/v1/auth/{path}"));
        let call = call.header("x-forwarded-for", from);
        call.body(body.to_string()).send().await
    };
    let made = send("register", "198.51.100.1", "test123").await;
    made.expect(StatusCode::CREATED);
    for attempt in 0..6 {
        let refused = send("login", "203.0.113.1", "guess123").await;
        let (status, slug) = match attempt {
            0..3 => (401, "wrong-credentials"),
            _ => (429, "too-many-requests"),
        };
        refused.problem(status, slug);
    }
    // From elsewhere, from next door, and from the very address.
    for from in ["198.51.100.1", "203.0.113.2", "203.0.113.1"] {
        let entered = send("login", from, "test123").await;
        assert_eq!(entered.status, StatusCode::OK, "{from}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn registrations_from_one_address_are_bounded(pool: PgPool) {
    let client = Coordinator::with(pool, &["auth.requests_per_address=2"])
        .await
        .visitor();
    let register = |n: u32| {
        let body = json!({"email": format!("{n}@example.com"), "password": "test123"});
        let call = client.post("/api/v1/auth/register").body(body.to_string());
        async move { call.send().await }
    };
    for n in 0..2 {
        register(n).await.expect(StatusCode::CREATED);
    }
    register(2).await.problem(429, "too-many-requests");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn without_nodes_an_upload_is_refused_and_costs_nothing(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.customer().await;
    let refused = client.initiate("a", 10).await;
    refused.problem(503, "too-few-nodes");
    assert_eq!(refused.header("retry-after"), "10");
    let refused = client.upload_call("a", &content(10)).send().await;
    refused.problem(503, "too-few-nodes");
    assert_eq!(client.balances().await, (1_000_000_000, 0, 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn without_its_database_a_coordinator_says_so_and_asks_to_come_again(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.user().await;
    for path in ["/health", "/readyz"] {
        let health = client.get(path).await.expect(StatusCode::OK);
        assert_eq!(
            (&health["status"], &health["database"]),
            (&json!("ok"), &json!(true))
        );
    }
    pool.close().await;
    for path in ["/health", "/readyz"] {
        let health = client.get(path).await;
        let health = health.expect(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health["status"], "unavailable");
    }
    assert_eq!(client.get("/livez").await.status, StatusCode::OK);
    let refused = client.get("/api/v1/files").await;
    refused.problem(503, "database-unavailable");
    assert_eq!(refused.header("retry-after"), "5");
}
