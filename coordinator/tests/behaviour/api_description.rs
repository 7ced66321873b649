//! The API describes itself, completely and without the internet.

use coordinator::http::metrics_router;
use http::{Method, StatusCode};
use kit::Statuses;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{Client, Coordinator};

async fn description(client: &Client) -> Value {
    let answer = client.get("/api/v1/openapi.json").await;
    answer.expect(StatusCode::OK)
}

/// `METHOD /path` of every operation, in order.
fn operations(description: &Value) -> Vec<String> {
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["get", "head", "post", "put", "delete", "patch"] {
            if item.get(method).is_some() {
                operations.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    operations
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_described_routes_change_only_on_purpose(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let description = description(&client).await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    insta::assert_snapshot!(operations(&description).join("\n"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_described_route_is_served_with_exactly_its_methods(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let description = description(&client).await;
    for (path, item) in description["paths"].as_object().unwrap() {
        let real = path.replace("{id}", &Uuid::from_u128(1).to_string());
        let real = real.replace("{access_key_id}", "FSNABCDEFGHIJKLMNOPQ");
        let refused = client.call(Method::TRACE, &real).send().await;
        refused.problem(405, "method-not-allowed");
        let mut served: Vec<_> = refused.header("allow").split(',').map(str::trim).collect();
        served.sort_unstable();
        let described = |method: &&str| item.get(method.to_lowercase()).is_some();
        // HEAD comes with every GET.
        let undescribed = served.iter().filter(|method| !described(method));
        let undescribed: Vec<_> = undescribed.filter(|method| **method != "HEAD").collect();
        assert!(undescribed.is_empty(), "{path}: {undescribed:?}");
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            assert!(served.contains(&&*method), "{path} does not serve {method}");
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_description_refers_only_to_what_it_contains(pool: PgPool) {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let client = Coordinator::start(pool).await.visitor();
    let description = description(&client).await;
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
    let operation_ids = description["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["security"].as_array());
    let schemes = &description["components"]["securitySchemes"];
    for scheme in operation_ids.flatten() {
        for name in scheme.as_object().unwrap().keys() {
            assert!(schemes.get(name).is_some(), "{name}");
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_operation_describes_its_errors_as_they_come(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let description = description(&client).await;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let error = &operation["responses"]["default"]["content"];
            let schema = &error["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{method} {path}");
        }
    }
    let refused = client.get("/api/v1/files").await;
    assert_eq!(refused.header("content-type"), "application/problem+json");
    let told = refused.problem(401, "unauthorized");
    let schema = &description["components"]["schemas"]["Problem"];
    let described = schema["properties"].as_object().unwrap();
    for (name, member) in described {
        let kind = if told[name].is_u64() {
            "integer"
        } else {
            "string"
        };
        assert_eq!(member["type"], kind, "{name}");
    }
    let mut names: Vec<_> = described.keys().collect();
    names.sort_unstable();
    let mut told: Vec<_> = told.as_object().unwrap().keys().collect();
    told.sort_unstable();
    assert_eq!(names, told);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_viewer_loads_nothing_from_elsewhere(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let redirect = client.get("/docs").await;
    assert!(redirect.status.is_redirection(), "{}", redirect.status);
    let page = client.get("/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    let html = String::from_utf8(page.bytes().to_vec()).unwrap();
    assert!(!html.contains("src=\"http"), "{html}");
    let scripts = html.split("src=\"").skip(1);
    let scripts: Vec<_> = scripts.filter_map(|rest| rest.split('"').next()).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        let path = format!("/docs/{}", script.trim_start_matches("./"));
        let script = client.get(&path).await;
        assert_eq!(script.status, StatusCode::OK, "{path}");
        assert!(!script.bytes().is_empty());
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn metrics_count_requests_by_route_and_never_by_path(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let client = coordinator.visitor();
    for n in 0..3u128 {
        client
            .get(&format!("/api/v1/nodes/{}", Uuid::from_u128(n)))
            .await;
    }
    client.get("/api/v1/made-up").await;
    // Any word is a method to HTTP, and a label is kept for ever.
    let invented = http::Method::from_bytes(b"INVENTED").unwrap();
    client.call(invented, "/api/v1/nodes").send().await;
    let metrics = Client::new(metrics_router(&coordinator.app, Statuses::default()), None);
    let text = metrics.get("/metrics").await;
    assert!(
        text.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = String::from_utf8(text.bytes().to_vec()).unwrap();
    let by_route = "fsn_coordinator_http_requests_total{method=\"GET\",route=\"/api/v1/nodes/{id}\",status=\"404\"} 3";
    assert!(text.contains(by_route), "{text}");
    assert!(
        !text.contains("made-up") && !text.contains("INVENTED"),
        "{text}"
    );
    let by_cipher = "fsn_coordinator_peer_handshakes_total{channel=\"tls_aes_256_gcm\"} ";
    assert!(text.contains(by_cipher), "{text}");
    for of_peers in [
        "fsn_coordinator_peers{state=\"connected\"} 0",
        "fsn_coordinator_refused_connections_total{reason=\"stranger\"} 0",
    ] {
        assert!(text.contains(of_peers), "{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let elsewhere = metrics.get("/api/v1/files").await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
}
