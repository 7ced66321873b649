//! The security log: who did, or tried, what, from where; bounded, whatever strangers do.

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, CHUNK, Client, Coordinator, Node, content, count};

const EVENTS: &str = "/api/v1/auth/events";

async fn send(client: &Client, call: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{call}"));
    call.body(body.to_string()).send().await
}

fn credentials(password: &str) -> Value {
    json!({"email": "test@example.com", "password": password})
}

/// Registered and logged in.
async fn owner(coordinator: &Coordinator) -> Client {
    let visitor = coordinator.visitor();
    let account = credentials("test123");
    send(&visitor, "register", &account)
        .await
        .expect(StatusCode::CREATED);
    let tokens = send(&visitor, "login", &account)
        .await
        .expect(StatusCode::OK);
    visitor.with_token(tokens["access_token"].as_str().unwrap())
}

async fn events(client: &Client) -> Vec<Value> {
    let page = client.get(&format!("{EVENTS}?limit=100")).await;
    let page = page.expect(StatusCode::OK);
    page["items"].as_array().unwrap().clone()
}

fn of_kind<'a>(events: &'a [Value], kind: &str, outcome: &str) -> Vec<&'a Value> {
    let found = events.iter();
    let found = found.filter(|event| event["kind"] == kind && event["outcome"] == outcome);
    found.collect()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_owner_sees_what_was_done_and_tried_by_whom_and_from_where(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let owner = owner(&coordinator).await;
    let wrong = send(&coordinator.visitor(), "login", &credentials("guessed")).await;
    wrong.problem(401, "wrong-credentials");
    let wanted = json!({"name": "a", "scopes": ["write", "delete"]}).to_string();
    let key = owner.post("/api/v1/access-keys").body(wanted).send().await;
    let key = key.expect(StatusCode::CREATED);
    let member = |name: &str| key[name].as_str().unwrap().to_owned();
    let (id, secret) = (member("access_key_id"), member("secret_access_key"));
    let program = coordinator.visitor().with_token(&format!("{id}.{secret}"));
    let file = program.upload("a", b"content").await;
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    let deleted = program.delete(&path).await;
    deleted.expect(StatusCode::NO_CONTENT);
    let bought = send(&owner, "credits/purchase", &json!({"amount_usd": 1})).await;
    bought.expect(StatusCode::CREATED);
    coordinator.app.accounts.security.flush().await.unwrap();

    let events = events(&owner).await;
    for event in &events {
        assert_eq!(event["address"], "192.0.2.1", "{event}");
    }
    for (kind, outcome) in [
        ("registered", "done"),
        ("login", "done"),
        ("login", "refused"),
        ("access-key-made", "done"),
        ("file-deleted", "done"),
        ("purchase", "done"),
    ] {
        assert_eq!(of_kind(&events, kind, outcome).len(), 1, "{kind} {outcome}");
    }
    let deletion = of_kind(&events, "file-deleted", "done")[0];
    assert_eq!(deletion["actor"], format!("access key {id}"));
    assert_eq!(deletion["subject"], file["file_id"]);
    assert_eq!(deletion["request_id"], deleted.header("x-request-id"));
    let made = of_kind(&events, "access-key-made", "done")[0];
    assert!(made["actor"].as_str().unwrap().starts_with("session "));
    assert_eq!(made["subject"], json!(id));
    assert!(!json!(events).to_string().contains(&secret));

    let (_, stranger) = coordinator.user().await;
    assert!(self::events(&stranger).await.is_empty());
    let page = owner
        .get(&format!("{EVENTS}?limit=2"))
        .await
        .expect(StatusCode::OK);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = owner
        .get(&format!("{EVENTS}?limit=100&cursor={cursor}"))
        .await;
    let rest = rest.expect(StatusCode::OK);
    assert_eq!(rest["items"].as_array().unwrap().len() + 2, events.len());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn failed_logins_of_strangers_are_counted_and_do_not_fill_the_table(pool: PgPool) {
    let settings = [
        "http.trust_forwarded_for=true",
        "auth.requests_per_account=100000",
    ];
    let coordinator = Coordinator::with(pool.clone(), &settings).await;
    let security = &coordinator.app.accounts.security;
    let visitor = coordinator.visitor();
    let tries = async |address: String| {
        let call = visitor
            .post("/api/v1/auth/login")
            .header("x-forwarded-for", &address);
        let answer = call.body(credentials("guessed").to_string()).send().await;
        answer.problem(401, "wrong-credentials");
    };
    for _ in 0..20 {
        tries("203.0.113.7".to_owned()).await;
    }
    security.flush().await.unwrap();
    let rows = "SELECT count(*) FROM security_events";
    assert!(count(&pool, rows).await <= 2, "one for each minute");
    for network in 0..200 {
        tries(format!("2001:db8:0:{network:x}::1")).await;
    }
    security.flush().await.unwrap();
    let sum = "SELECT sum(count)::bigint FROM security_events";
    assert_eq!(count(&pool, sum).await, 220);
    assert!(
        count(&pool, rows).await <= 2 * 61,
        "however many come in a minute"
    );
    let apart = "SELECT count(*) FROM security_events WHERE address = '203.0.113.7'";
    assert!(count(&pool, apart).await >= 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_done_is_told_for_400_days(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let owner = owner(&coordinator).await;
    assert_eq!(events(&owner).await.len(), 2);
    for (age, left) in [("399 days", 2), ("2 days", 0)] {
        let older = format!("UPDATE security_events SET at = at - interval '{age}'");
        sqlx::query(sqlx::AssertSqlSafe(older))
            .execute(&pool)
            .await
            .unwrap();
        let mut connection = pool.acquire().await.unwrap();
        coordinator::security::tables::events::delete_old(&mut connection, 10)
            .await
            .unwrap();
        drop(connection);
        assert_eq!(events(&owner).await.len(), left, "{age}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_rolled_back_was_not_done(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["money.purchases_per_day=1"]).await;
    let (_, client) = coordinator.customer().await;
    let again = send(&client, "credits/purchase", &json!({"amount_usd": 1})).await;
    again.problem(429, "too-many-requests");
    let purchases = "SELECT count(*) FROM security_events WHERE kind = 'purchase'";
    assert_eq!(count(&pool, purchases).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_id_of_a_request_reaches_the_nodes_that_work_for_it(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(3 * CHUNK);
    let uploaded = client
        .upload_call("a", &bytes)
        .header("x-request-id", "up-1");
    let file = uploaded.send().await.expect(StatusCode::CREATED);
    for node in &nodes {
        assert_eq!(node.asked_for(), ["up-1"; 3]);
    }
    let path = format!(
        "/api/v1/files/{}/download",
        file["file_id"].as_str().unwrap()
    );
    let downloaded = client.call(http::Method::GET, &path);
    let downloaded = downloaded.header("x-request-id", "down-1").send().await;
    assert_eq!(*downloaded.bytes(), bytes);
    let asked = nodes.iter().flat_map(Node::asked_for);
    assert!(asked.filter(|id| id == "down-1").count() >= 3);
}
