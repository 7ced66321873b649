//! `coordinator admin user …` and `admin file …`: what administrators do to accounts and to files that are not theirs, with
//! the database alone.

use coordinator::bookkeeping::chart;
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::command_line::{fails, succeeds};
use crate::support::{CHUNK, Client, Coordinator, balance, content, count};

const PASSWORD: &str = "violet anchor 72 cloud";

async fn post(client: &Client, path: &str, body: &Value) -> crate::support::Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

async fn open(client: &Client, email: &str) -> Value {
    let credentials = json!({"email": email, "password": PASSWORD});
    let made = post(client, "register", &credentials).await;
    made.expect(StatusCode::CREATED);
    let entered = post(client, "login", &credentials).await;
    entered.expect(StatusCode::OK)
}

async fn json_of(pool: &PgPool, arguments: &[&str]) -> Value {
    let arguments = [&["admin"][..], arguments, &["--output", "json"]].concat();
    serde_json::from_str(&succeeds(pool, &arguments).await).unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_suspended_account_can_neither_log_in_nor_renew_a_login_and_its_files_stay(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let client = coordinator.visitor();
    let tokens = open(&client, "a@example.com").await;
    let owner = client.with_token(tokens["access_token"].as_str().unwrap());
    let file = owner.upload("a", &content(100)).await;
    let credentials = json!({"email": "a@example.com", "password": PASSWORD});
    let renew = json!({"refresh_token": tokens["refresh_token"]});

    let suspend = ["admin", "user", "suspend", "a@example.com", "--reason"];
    let refused = fails(&pool, &[&suspend[..], &[" "]].concat()).await;
    assert!(refused.contains("a reason has 1 to 500 bytes"), "{refused}");
    succeeds(&pool, &[&suspend[..], &["it sends spam"]].concat()).await;
    let again = fails(&pool, &[&suspend[..], &["again"]].concat()).await;
    assert!(again.contains("suspended already"), "{again}");

    let refused = post(&client, "login", &credentials).await;
    let told = refused.problem(403, "account-suspended");
    assert!(told["detail"].as_str().unwrap().contains("it sends spam"));
    let refused = post(&client, "refresh", &renew).await;
    refused.problem(403, "account-suspended");
    let wrong = json!({"email": "a@example.com", "password": "violet anchor 73 cloud"});
    let refused = post(&client, "login", &wrong).await;
    refused.problem(401, "wrong-credentials");
    assert_eq!(
        count(&pool, "SELECT count(*) FROM files WHERE state = 'ready'").await,
        1
    );

    let listed = json_of(&pool, &["user", "list", "--suspended"]).await;
    assert_eq!(listed["items"][0]["suspended_reason"], "it sends spam");
    let back = [
        "admin",
        "user",
        "unsuspend",
        "a@example.com",
        "--reason",
        "it was his son",
    ];
    succeeds(&pool, &back).await;
    let renewed = post(&client, "refresh", &renew)
        .await
        .expect(StatusCode::OK);
    let owner = client.with_token(renewed["access_token"].as_str().unwrap());
    assert_eq!(owner.content(&file).await, content(100));
    let shown = json_of(&pool, &["user", "show", "a@example.com"]).await;
    assert_eq!(shown["state"], "active");
    let decided: Vec<_> = shown["decisions"].as_array().unwrap().iter().collect();
    assert_eq!(decided.len(), 2);
    assert_eq!(decided[0]["reason"], "it was his son");
    assert_eq!(decided[1]["decision"], "suspended");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn accounts_are_listed_oldest_first_with_the_database_alone(pool: PgPool) {
    let empty = json_of(&pool, &["user", "list"]).await;
    assert_eq!(empty, json!({"items": []}));
    let client = Coordinator::start(pool.clone()).await.visitor();
    for email in ["a@example.com", "b@example.com"] {
        open(&client, email).await;
    }
    let listed = json_of(&pool, &["user", "list"]).await;
    let emails = listed["items"].as_array().unwrap().iter();
    let emails: Vec<_> = emails.map(|user| user["email"].as_str().unwrap()).collect();
    assert_eq!(emails, ["a@example.com", "b@example.com"]);
    let table = succeeds(&pool, &["admin", "user", "list"]).await;
    assert!(
        table.contains("b@example.com") && table.contains("active"),
        "{table}"
    );
    let id = listed["items"][1]["user_id"].as_str().unwrap();
    let shown = succeeds(&pool, &["admin", "user", "show", id]).await;
    assert!(shown.contains("b@example.com"), "{shown}");
    let unknown = fails(&pool, &["admin", "user", "show", "c@example.com"]).await;
    assert!(
        unknown.contains("nobody is registered as c@example.com"),
        "{unknown}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_credit_stands_in_the_ledger_with_its_reason_and_is_given_once_under_its_key(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let id = user.to_string();
    let credit = |amount: &'static str| {
        [
            "admin",
            "user",
            "credit",
            &id,
            amount,
            "--reason",
            "an outage",
            "--key",
            "ticket 7",
        ]
        .map(str::to_owned)
    };
    for _ in 0..2 {
        let credit = credit("2.5");
        let arguments: Vec<&str> = credit.iter().map(String::as_str).collect();
        succeeds(&pool, &arguments).await;
    }
    assert_eq!(client.balances().await.0, 2_500_000);
    let credit = credit("3");
    let arguments: Vec<&str> = credit.iter().map(String::as_str).collect();
    let other = fails(&pool, &arguments).await;
    assert!(other.contains("another amount"), "{other}");
    let seen = client.get("/api/v1/credits/transactions").await;
    let seen = seen.expect(StatusCode::OK);
    assert_eq!(seen["items"][0]["kind"], "grant");
    assert_eq!(seen["items"][0]["cause"]["reason"], "an outage");
    for wrong in ["0", "-1", "1e9", "0.0000001"] {
        let arguments = ["admin", "user", "credit", &id, "--reason", "x", "--", wrong];
        let output = crate::command_line::coordinator(&pool, &arguments).await;
        assert!(!output.status.success(), "{wrong}");
    }
    let verified = succeeds(&pool, &["ledger", "verify"]).await;
    assert!(!verified.contains("wrong"), "{verified}");
    assert_eq!(balance(&pool, chart::available(user)).await, 2_500_000);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_is_taken_down_with_a_reason_that_is_kept_and_its_owner_gets_the_rest_of_its_price(
    pool: PgPool,
) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let file = client.upload("a\u{1b}[2J", &content(3 * CHUNK)).await;
    let kept = client.upload("kept", &content(CHUNK)).await;
    let id = file["file_id"].as_str().unwrap();
    let shown = json_of(&pool, &["file", "show", id]).await;
    assert_eq!(shown["user_id"], user.to_string());
    assert_eq!(shown["size_bytes"], 3 * CHUNK);
    let table = succeeds(&pool, &["admin", "file", "show", id]).await;
    assert!(!table.contains('\u{1b}'), "a name moves no cursor");

    let unreasoned = ["admin", "file", "take-down", id];
    let output = crate::command_line::coordinator(&pool, &unreasoned).await;
    assert!(!output.status.success());
    let why = ["file", "take-down", id, "--reason", "a court's order"];
    json_of(&pool, &why).await;
    client.download(&file).await.problem(404, "not-found");
    assert_eq!(client.content(&kept).await, content(CHUNK));
    assert!(client.balances().await.0 > 999_000_000);
    let shown = json_of(&pool, &["file", "show", id]).await;
    assert_eq!(shown["state"], "gone");
    assert_eq!(shown["decisions"][0]["reason"], "a court's order");
    let again = fails(
        &pool,
        &["admin", "file", "take-down", id, "--reason", "again"],
    )
    .await;
    assert!(again.contains("there is no such file"), "{again}");
    coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_administrator_ends_all_logins_of_an_account_at_once(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let tokens = open(&client, "a@example.com").await;
    let owner = client.with_token(tokens["access_token"].as_str().unwrap());
    let end = [
        "admin",
        "user",
        "end-sessions",
        "a@example.com",
        "--reason",
        "a lost laptop",
    ];
    succeeds(&pool, &end).await;
    let refused = owner.get("/api/v1/auth/me").await;
    refused.problem(401, "unauthorized");
    let renew = json!({"refresh_token": tokens["refresh_token"]});
    let refused = post(&client, "refresh", &renew).await;
    refused.problem(401, "bad-refresh-token");
    let credentials = json!({"email": "a@example.com", "password": PASSWORD});
    let again = post(&client, "login", &credentials).await;
    again.expect(StatusCode::OK);
    let shown = json_of(&pool, &["user", "show", "a@example.com"]).await;
    assert_eq!(shown["decisions"][0]["decision"], "sessions_ended");
}
