//! What one connection can do to others' accounts, and to the tables, with the limits that a coordinator has by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use local_cluster::TemporaryCluster;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use support::cluster;

/// The limits of the template, which a local cluster has raised.
const LIMITS: &str = r#"
    [coordinator.auth]
    requests_per_address = 120
    requests_per_account = 30
    [coordinator.uploads]
    max_open_per_user = 1000
    sessions_per_minute = 1200
    [coordinator.money]
    purchases_per_day = 100
"#;

struct Attacker {
    client: local_cluster::client::Endpoint,
    database: PgConnection,
}

impl Attacker {
    async fn of(cluster: &TemporaryCluster) -> Self {
        let url = cluster.status().unwrap().postgres.url;
        Self {
            client: cluster.client().unwrap(),
            database: PgConnection::connect(&url).await.unwrap(),
        }
    }

    async fn post(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let mut request = self.client.request(Method::POST, path).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn rows(&mut self, table: &'static str) -> i64 {
        let query = match table {
            "refresh_tokens" => "SELECT count(*) FROM refresh_tokens",
            "node_tokens" => "SELECT count(*) FROM node_tokens",
            "uploads" => "SELECT count(*) FROM uploads",
            _ => "SELECT count(*) FROM transfers WHERE kind = 'purchase'",
        };
        let count = sqlx::query_scalar(query);
        count.fetch_one(&mut self.database).await.unwrap()
    }
}

#[tokio::test]
async fn thirty_wrong_passwords_keep_nobody_out_and_sixty_are_told_to_stop() {
    let cluster = cluster(3, LIMITS).await;
    let attacker = Attacker::of(&cluster).await;
    let owner = json!({"email": "owner@example.com", "password": "test1234"});
    let (made, _) = attacker
        .post("/api/v1/auth/register", None, owner.clone())
        .await;
    assert_eq!(made, 201);
    let mut answers = Vec::new();
    for attempt in 0..40 {
        let guess = json!({"email": "owner@example.com", "password": format!("wrong{attempt}")});
        let (status, _) = attacker.post("/api/v1/auth/login", None, guess).await;
        answers.push(status);
    }
    assert!(
        answers[..30].iter().all(|status| *status == 401),
        "{answers:?}"
    );
    assert_eq!(answers.last(), Some(&429));
    let (entered, _) = attacker.post("/api/v1/auth/login", None, owner).await;
    assert_eq!(entered, 200);
}

#[tokio::test]
async fn one_connection_fills_no_table() {
    let cluster = cluster(3, LIMITS).await;
    let mut attacker = Attacker::of(&cluster).await;
    let before = attacker.rows("refresh_tokens").await;
    let account = json!({"email": "growth@example.com", "password": "test1234"});
    attacker
        .post("/api/v1/auth/register", None, account.clone())
        .await;
    let (_, mut tokens) = attacker.post("/api/v1/auth/login", None, account).await;
    let token = tokens["access_token"].as_str().unwrap().to_owned();
    for _ in 0..50 {
        let body = json!({"refresh_token": tokens["refresh_token"]});
        let (status, next) = attacker.post("/api/v1/auth/refresh", None, body).await;
        assert_eq!(status, 200);
        tokens = next;
    }
    assert_eq!(attacker.rows("refresh_tokens").await, before + 2);

    // Each ends with 429 long before it hurts.
    let attempts = [
        ("/api/v1/nodes/tokens", json!({}), "node_tokens", 100),
        (
            "/api/v1/auth/credits/purchase",
            json!({"amount_usd": 1000}),
            "purchases",
            100,
        ),
        (
            "/api/v1/files/upload/initiate",
            json!({"filename": "z", "size_bytes": 0}),
            "uploads",
            1000,
        ),
    ];
    for (path, body, table, most) in attempts {
        let before = attacker.rows(table).await;
        let mut last = 201;
        let mut made = 0;
        while last == 201 && made <= most {
            (last, _) = attacker.post(path, Some(&token), body.clone()).await;
            made += 1;
        }
        assert_eq!(last, 429, "{path} after {made}");
        assert!(attacker.rows(table).await <= before + most, "{path}");
    }
}
