//! Paying nodes out through a provider that moves money: to somebody, once, and called paid when it is.

use coordinator::billing::payouts::ask_one;
use http::{Method, StatusCode};
use payments::stand_in::Fault;
use proto::NodeId;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::economy::of_node;
use crate::support::shop::Shop;
use crate::support::{Answer, Client, Coordinator, NO_PROVIDER};

/// Credits for 5 USD and a part of a cent.
const EARNED: i64 = 500_400_000;
pub(crate) const FIVE_USD: i64 = 500_000_000;

pub(crate) async fn ask(coordinator: &Coordinator) {
    while ask_one(&coordinator.app.billing).await.unwrap() {}
}

async fn pay(client: &Client, node: NodeId, body: &Value, key: &str) -> Answer {
    let call = client.call(Method::POST, &format!("/api/v1/nodes/{node}/payouts"));
    let call = call.header("idempotency-key", key);
    call.body(body.to_string()).send().await
}

/// A node's only payout, as it stands.
async fn only(client: &Client, node: NodeId) -> Value {
    let list = client.get(&format!("/api/v1/nodes/{node}/payouts")).await;
    let list = list.expect(StatusCode::OK);
    let [payout] = &list["items"].as_array().unwrap()[..] else {
        panic!("{list}");
    };
    payout.clone()
}

/// An operator who can be paid, and a node of his that has earned something.
pub(crate) async fn operator(shop: &Shop) -> (Client, NodeId) {
    let (user, client) = shop.coordinator.user().await;
    let put = client.put("/api/v1/payout-destination").send().await;
    put.expect(StatusCode::OK);
    let account = account(shop).await;
    shop.stripe.onboard(&account);
    (client, shop.rich_node(user, EARNED).await)
}

/// The account that was made last.
async fn account(shop: &Shop) -> String {
    let query = "SELECT account FROM payout_destinations ORDER BY created_at DESC LIMIT 1";
    sqlx::query_scalar(query)
        .fetch_one(&shop.pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_no_provider_was_chosen_nothing_is_paid_out(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &[NO_PROVIDER]).await;
    let (user, client) = coordinator.user().await;
    let node = crate::support::economy::idle_node(&pool).await;
    sqlx::query("UPDATE nodes SET operator_id = $1 WHERE node_id = $2")
        .bind(user.as_uuid())
        .bind(node.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    pay(&client, node, &json!({}), "a")
        .await
        .problem(503, "payments-not-configured");
    let put = client.put("/api/v1/payout-destination").send().await;
    put.problem(503, "payments-not-configured");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn somebody_is_paid_once_he_has_told_the_provider_about_himself(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let node = shop.rich_node(user, EARNED).await;
    let destination = "/api/v1/payout-destination";
    client.get(destination).await.problem(404, "not-found");
    pay(&client, node, &json!({}), "a")
        .await
        .problem(409, "no-payout-destination");
    for bad in ["de", "DEU", "D1", "Ü"] {
        let call = client.put(destination);
        let refused = call.body(json!({"country": bad}).to_string()).send().await;
        refused.problem(400, "invalid-request");
    }
    let put = || {
        let call = client.put(destination);
        call.body(json!({"country": "DE"}).to_string()).send()
    };
    let first = put().await.expect(StatusCode::OK);
    assert_eq!(first["ready"], false);
    assert!(first["onboarding_url"].as_str().unwrap().contains("acct_"));
    assert_eq!(put().await.expect(StatusCode::OK)["country"], "DE");
    pay(&client, node, &json!({}), "a")
        .await
        .problem(409, "no-payout-destination");
    shop.stripe.onboard(&account(&shop).await);
    let ready = client.get(destination).await.expect(StatusCode::OK);
    assert_eq!(ready["ready"], true);
    assert_eq!(
        put().await.expect(StatusCode::OK).get("onboarding_url"),
        None
    );

    let paid = pay(&client, node, &json!({}), "a").await;
    let paid = paid.expect(StatusCode::CREATED);
    assert_eq!(
        (&paid["state"], &paid["amount_microcredits"]),
        (&json!("paid"), &json!(FIVE_USD))
    );
    let transfer = shop.stripe.transfers().pop().unwrap();
    let transfer = shop.stripe.object(&transfer).unwrap();
    assert_eq!(transfer["amount"], 500);
    assert_eq!(transfer["destination"], account(&shop).await.as_str());
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED - FIVE_USD);
    let again = pay(&client, node, &json!({}), "a").await;
    assert_eq!(again.expect(StatusCode::CREATED), paid);
    // What is left is no cent.
    for body in [json!({}), json!({"amount_microcredits": 400_000})] {
        let refused = pay(&client, node, &body, "b").await;
        refused.problem(400, "invalid-request");
    }
    assert_eq!(
        client.delete(destination).await.status,
        StatusCode::NO_CONTENT
    );
    client.delete(destination).await.problem(404, "not-found");
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_payout_is_pending_until_the_provider_has_confirmed_it(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    // The destination is looked at first; what makes something gets no answer.
    shop.stripe.meets([Fault::Away, Fault::Away, Fault::Away]);
    let pending = pay(&client, node, &json!({}), "a").await;
    let pending = pending.expect(StatusCode::CREATED);
    assert_eq!(pending["state"], "pending");
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED - FIVE_USD);
    assert!(shop.stripe.transfers().is_empty());
    let other = shop.another().await;
    shop.hurry().await;
    ask(&other).await;
    assert_eq!(only(&client, node).await["state"], "paid");
    assert_eq!(shop.stripe.transfers().len(), 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_payout_whose_answer_got_lost_is_found_and_not_made_again_when_its_key_is_forgotten(
    pool: PgPool,
) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    shop.stripe
        .meets([Fault::LostAnswer, Fault::LostAnswer, Fault::LostAnswer]);
    let pending = pay(&client, node, &json!({}), "a").await;
    assert_eq!(pending.expect(StatusCode::CREATED)["state"], "pending");
    assert_eq!(shop.stripe.transfers().len(), 1);
    shop.stripe.forget_keys();
    shop.hurry().await;
    ask(&shop.coordinator).await;
    assert_eq!(only(&client, node).await["state"], "paid");
    assert_eq!(shop.stripe.transfers().len(), 1);
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED - FIVE_USD);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_the_provider_refuses_is_the_nodes_again(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    shop.stripe.meets([Fault::Refused {
        status: 400,
        kind: "invalid_request_error",
        code: "account_invalid",
        message: "The account was closed",
    }]);
    let refused = pay(&client, node, &json!({}), "a").await;
    let refused = refused.expect(StatusCode::CREATED);
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("refused"), &json!("The account was closed"))
    );
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED);
    shop.hurry().await;
    ask(&shop.coordinator).await;
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED);
    assert!(shop.stripe.transfers().is_empty());
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_empty_balance_of_the_networks_operator_is_no_refusal(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    shop.stripe.meets([Fault::Refused {
        status: 400,
        kind: "invalid_request_error",
        code: "balance_insufficient",
        message: "You have insufficient available funds",
    }]);
    let pending = pay(&client, node, &json!({}), "a").await;
    assert_eq!(pending.expect(StatusCode::CREATED)["state"], "pending");
    shop.hurry().await;
    ask(&shop.coordinator).await;
    assert_eq!(only(&client, node).await["state"], "paid");
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_transfer_that_comes_back_is_the_nodes_again_once(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    let paid = pay(&client, node, &json!({}), "a").await;
    assert_eq!(paid.expect(StatusCode::CREATED)["state"], "paid");
    let transfer = shop.stripe.transfers().pop().unwrap();
    for _ in 0..2 {
        let told = shop.told("transfer.updated", &transfer).await;
        assert_eq!(told.status, StatusCode::OK);
    }
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED - FIVE_USD);
    let reversed = json!({"amount_reversed": 500, "reversed": true});
    shop.stripe.change(&transfer, &reversed);
    // Nobody keeps a paid one in mind but the provider, which is to tell again.
    shop.stripe.set_away(true);
    let away = shop.told("transfer.reversed", &transfer).await;
    away.problem(503, "payment-provider-away");
    shop.stripe.set_away(false);
    for _ in 0..2 {
        let told = shop.told("transfer.reversed", &transfer).await;
        assert_eq!(told.status, StatusCode::OK);
    }
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED);
    let payout = only(&client, node).await;
    assert_eq!(payout["state"], "refused");
    assert_eq!(shop.moved("payout_refused").await, 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_operator_of_a_suspended_account_is_not_paid(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (client, node) = operator(&shop).await;
    sqlx::query("UPDATE users SET suspended_at = now(), suspended_reason = 'a test'")
        .execute(&shop.pool)
        .await
        .unwrap();
    pay(&client, node, &json!({}), "a")
        .await
        .problem(403, "account-suspended");
    assert_eq!(of_node(&shop.pool, node).await.1, EARNED);
}
