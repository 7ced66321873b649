//! Buying credits, and seeing where they went.

use api::credits::Transaction;
use api::page::Page;
use http::StatusCode;
use ledger::TransferId;
use proto::NodeId;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use coordinator::billing::tables::purchases;

use crate::support::{Answer, Client, Coordinator, Node, count};

async fn buy(client: &Client, body: &str, key: Option<&str>) -> Answer {
    let mut call = client
        .post("/api/v1/auth/credits/purchase")
        .body(body.to_owned());
    if let Some(key) = key {
        call = call.header("idempotency-key", key);
    }
    call.send().await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn dollars_become_credits_to_the_cent(pool: PgPool) {
    let (_, client) = Coordinator::start(pool).await.user().await;
    let mut available = 0;
    for (written, credited) in [
        ("10", 1_000_000_000),
        ("0.1", 10_000_000),
        ("9.99", 999_000_000),
        ("0.01", 1_000_000),
        ("10.00", 1_000_000_000),
        ("\"19.90\"", 1_990_000_000),
        ("1000000", 100_000_000_000_000i64),
    ] {
        let body = format!("{{\"amount_usd\": {written}}}");
        let bought = buy(&client, &body, None).await.expect(StatusCode::CREATED);
        available += credited;
        assert_eq!(bought["credited_microcredits"], credited, "{written}");
        assert_eq!(bought["available_microcredits"], available, "{written}");
    }
    assert_eq!(client.balances().await, (available, 0, 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_no_amount_buys_nothing(pool: PgPool) {
    let (_, client) = Coordinator::start(pool).await.user().await;
    for body in [
        "{\"amount_usd\": 0}",
        "{\"amount_usd\": 0.00}",
        "{\"amount_usd\": -1}",
        "{\"amount_usd\": 1e1}",
        "{\"amount_usd\": 1.001}",
        "{\"amount_usd\": 1000000.01}",
        "{\"amount_usd\": 99999999999999999999999999}",
        "{\"amount_usd\": \"ten\"}",
        "{\"amount_usd\": \"\"}",
        "{\"amount_usd\": \" 10\"}",
        "{\"amount_usd\": \"\\u0031\"}",
        "{\"amount_usd\": null}",
        "{\"amount_usd\": [10]}",
        "{\"amount_usd\": {\"usd\": 10}}",
        "{\"amount_usd\": 1, \"amount_usd\": 2}",
        "{}",
    ] {
        buy(&client, body, None)
            .await
            .problem(400, "invalid-request");
    }
    assert_eq!(client.balances().await, (0, 0, 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purchase_that_is_repeated_under_its_key_is_made_once(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let body = r#"{"amount_usd":10}"#;
    let (first, second) = tokio::join!(
        buy(&client, body, Some("key")),
        buy(&client, body, Some("key"))
    );
    let first = first.expect(StatusCode::CREATED);
    assert_eq!(second.expect(StatusCode::CREATED), first);
    // The same amount in another spelling is the same request.
    let again = buy(&client, r#"{"amount_usd": "10.00"}"#, Some("key")).await;
    assert_eq!(again.expect(StatusCode::CREATED), first);
    let other = buy(&client, r#"{"amount_usd":11}"#, Some("key")).await;
    other.problem(422, "idempotency-key-reused");
    assert_eq!(client.balances().await.0, 1_000_000_000);
    // Keys of different users do not meet.
    let (_, neighbour) = coordinator.user().await;
    let theirs = buy(&neighbour, body, Some("key")).await;
    assert_ne!(
        theirs.expect(StatusCode::CREATED)["transfer_id"],
        first["transfer_id"]
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_network_sells_no_more_than_its_accounts_can_hold(pool: PgPool) {
    let (_, client) = Coordinator::start(pool.clone()).await.user().await;
    let sold =
        "UPDATE accounts SET balance_microcredits = -4611686018427000000 WHERE account = 'outside'";
    sqlx::query(sold).execute(&pool).await.unwrap();
    let refused = buy(&client, r#"{"amount_usd": 1}"#, None).await;
    refused.problem(503, "credits-sold-out");
    assert_eq!(count(&pool, "SELECT count(*) FROM transfers").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_buys_so_many_times_a_day_and_repeating_a_purchase_is_none(pool: PgPool) {
    let settings = ["money.purchases_per_day=2"];
    let coordinator = Coordinator::with(pool.clone(), &settings).await;
    let (_, client) = coordinator.user().await;
    let body = r#"{"amount_usd": 1}"#;
    for _ in 0..3 {
        let bought = buy(&client, body, Some("key")).await;
        bought.expect(StatusCode::CREATED);
    }
    buy(&client, body, None).await.expect(StatusCode::CREATED);
    let refused = buy(&client, body, None).await;
    refused.problem(429, "too-many-requests");
    assert_eq!(client.balances().await.0, 200_000_000);
    let (_, other) = coordinator.user().await;
    buy(&other, body, None).await.expect(StatusCode::CREATED);
    // The next day.
    sqlx::query("UPDATE purchase_days SET day = day - 1")
        .execute(&pool)
        .await
        .unwrap();
    buy(&client, body, None).await.expect(StatusCode::CREATED);
    let mut connection = pool.acquire().await.unwrap();
    let swept = purchases::delete_old(&mut connection, 10).await.unwrap();
    assert_eq!(swept, 2);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_idempotency_key_has_bounds(pool: PgPool) {
    let (_, client) = Coordinator::start(pool.clone()).await.user().await;
    let body = r#"{"amount_usd":1}"#;
    let longest = "k".repeat(255);
    buy(&client, body, Some(&longest))
        .await
        .expect(StatusCode::CREATED);
    for bad in ["", &"k".repeat(256)] {
        buy(&client, body, Some(bad))
            .await
            .problem(400, "invalid-request");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM transfers").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn transactions_tell_the_newest_first_page_by_page(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.user().await;
    let (_, neighbour) = coordinator.customer().await;
    for usd in 1..=5 {
        let body = json!({"amount_usd": usd}).to_string();
        buy(&client, &body, None).await.expect(StatusCode::CREATED);
    }
    crate::support::seal(&pool, 100).await.unwrap();
    let mut amounts = Vec::new();
    let mut path = "/api/v1/credits/transactions?limit=2".to_owned();
    loop {
        let page = client.get(&path).await.expect(StatusCode::OK);
        for item in page["items"].as_array().unwrap() {
            amounts.push(item["amount_microcredits"].as_i64().unwrap() / 100_000_000);
            assert_eq!(item["kind"], "purchase");
            assert_eq!(item["block"], 1);
            assert_eq!(item["hash"].as_str().unwrap().len(), 64);
            assert!(item["cause"]["amount_usd"].is_string());
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/credits/transactions?limit=2&cursor={cursor}");
    }
    assert_eq!(amounts.len(), 5);
    assert!(
        amounts.windows(2).all(|pair| pair[0] >= pair[1]),
        "{amounts:?}"
    );
    let theirs = neighbour.get("/api/v1/credits/transactions").await;
    assert_eq!(
        theirs.expect(StatusCode::OK)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_balance_is_told_to_its_user_and_to_its_node(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.customer().await;
    let own = client.get("/api/v1/balance").await.expect(StatusCode::OK);
    let expected = json!({"owner": "user", "available_microcredits": 1_000_000_000,
                          "held_microcredits": 0, "escrow_microcredits": 0});
    assert_eq!(own, expected);

    let node = Node::join(&coordinator).await;
    let of_node = |key: String| {
        let visitor = coordinator.visitor();
        async move {
            let call = visitor.call(http::Method::GET, "/api/v1/balance");
            call.header("x-api-key", &key).send().await
        }
    };
    let nodes = of_node(node.api_key.clone()).await.expect(StatusCode::OK);
    let expected = json!({"owner": "node", "available_microcredits": 0, "held_microcredits": 0});
    assert_eq!(nodes, expected);
    of_node("fsnn_guessed".to_owned())
        .await
        .problem(401, "unauthorized");
    of_node(NodeId::from_uuid(Uuid::nil()).to_string())
        .await
        .problem(401, "unauthorized");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_user_can_work_out_the_hash_of_each_of_his_transfers(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", b"content").await;
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(client.delete(&path).await.status, StatusCode::NO_CONTENT);
    let page = client.get("/api/v1/credits/transactions").await;
    let page: Page<Transaction> = serde_json::from_value(page.expect(StatusCode::OK)).unwrap();
    let kinds: Vec<&str> = page.items.iter().map(|item| &*item.kind).collect();
    assert_eq!(kinds, ["delete", "charge", "purchase"]);
    for item in &page.items {
        let entries = item.entries.iter();
        let hash = ledger::transfer_hash(
            TransferId::from_uuid(item.transfer_id),
            &item.kind,
            &item.idempotency_key,
            item.at,
            &item.cause_text,
            entries.map(|entry| (entry.owner_id, &*entry.account, entry.amount_microcredits)),
        );
        assert_eq!(hex::encode(hash), item.hash, "{}", item.kind);
        let cause: Value = serde_json::from_str(&item.cause_text).unwrap();
        assert_eq!(cause, item.cause);
    }
}
