//! Buying through a provider that takes its time, loses answers, is away, and is played by others: whatever happens, credits
//! come once, and only when the money has.

use coordinator::billing::purchases::look_at_one;
use http::StatusCode;
use jiff::SignedDuration;
use kit::Clock;
use payments::sign_webhook;
use payments::stand_in::{Fault, WEBHOOK_SECRET};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::shop::Shop;
use crate::support::{Coordinator, NO_PROVIDER, count, soon};

/// Credits for 10 USD.
const TEN: i64 = 1_000_000_000;

async fn look(coordinator: &Coordinator) {
    while look_at_one(&coordinator.app.billing).await.unwrap() {}
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_no_provider_was_chosen_nothing_is_sold_and_the_problem_says_what_to_set(
    pool: PgPool,
) {
    let coordinator = Coordinator::with(pool.clone(), &[NO_PROVIDER]).await;
    let (_, client) = coordinator.user().await;
    let call = client.post("/api/v1/auth/credits/purchase");
    let refused = call.body(r#"{"amount_usd":10}"#).send().await;
    let problem = refused.problem(503, "payments-not-configured");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("money.provider")
    );
    let webhook = client
        .post("/api/v1/payments/webhook")
        .body("{}")
        .send()
        .await;
    webhook.problem(503, "payments-not-configured");
    let health = client.get("/health").await.expect(StatusCode::OK);
    assert_eq!(health.get("payments"), None);
    assert_eq!(count(&pool, "SELECT count(*) FROM purchases").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_mock_says_that_it_is_one(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let call = client.post("/api/v1/auth/credits/purchase");
    let bought = call.body(r#"{"amount_usd":10}"#).send().await;
    let bought = bought.expect(StatusCode::CREATED);
    assert_eq!(
        (&bought["provider"], &bought["state"]),
        (&json!("mock"), &json!("paid"))
    );
    let health = client.get("/health").await.expect(StatusCode::OK);
    assert_eq!(health["payments"], "mock");
    let id = bought["purchase_id"].as_str().unwrap();
    let status = client.get(&format!("/api/v1/credits/purchases/{id}")).await;
    assert_eq!(status.expect(StatusCode::OK), bought);
    let (_, neighbour) = coordinator.user().await;
    let theirs = neighbour
        .get(&format!("/api/v1/credits/purchases/{id}"))
        .await;
    theirs.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn credits_come_with_the_money_and_a_webhook_that_comes_twice_brings_them_once(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    let (purchase, payment) = shop.order(&client, "10", "a").await;
    assert_eq!(
        (&purchase["state"], &purchase["transfer_id"]),
        (&json!("pending"), &Value::Null)
    );
    assert_eq!(purchase["provider"], "stripe");
    assert!(purchase["client_secret"].is_string());
    assert_eq!(client.balances().await.0, 0);
    shop.stripe.pay(&payment);
    for _ in 0..2 {
        let told = shop.told("payment_intent.succeeded", &payment).await;
        assert_eq!(told.status, StatusCode::OK);
    }
    assert_eq!(client.balances().await.0, TEN);
    let again = shop.buy(&client, "10", "a").await;
    let again = again.expect(StatusCode::CREATED);
    assert_eq!(again["state"], "paid");
    assert_eq!(again.get("client_secret"), None);
    assert_eq!(again["purchase_id"], purchase["purchase_id"]);
    let other = shop.buy(&client, "11", "a").await;
    other.problem(422, "idempotency-key-reused");
    assert_eq!(shop.moved("purchase").await, 1);
    assert_eq!(shop.stripe.payments().len(), 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purchase_whose_webhook_got_lost_is_credited_by_looking_and_a_late_webhook_finds_it_done(
    pool: PgPool,
) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    let (_, payment) = shop.order(&client, "10", "a").await;
    shop.hurry().await;
    look(&shop.coordinator).await;
    assert_eq!(client.balances().await.0, 0);
    shop.stripe.pay(&payment);
    look(&shop.coordinator).await;
    assert_eq!(client.balances().await.0, 0, "it is not due yet");
    shop.hurry().await;
    look(&shop.coordinator).await;
    assert_eq!(client.balances().await.0, TEN);
    let told = shop.told("payment_intent.succeeded", &payment).await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(client.balances().await.0, TEN);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn while_the_provider_is_away_a_purchase_waits_and_another_coordinator_goes_on_with_it(
    pool: PgPool,
) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    shop.stripe.set_away(true);
    let ordered = shop.buy(&client, "10", "a").await;
    let ordered = ordered.expect(StatusCode::ACCEPTED);
    assert_eq!(ordered.get("client_secret"), None);
    assert!(shop.stripe.payments().is_empty());
    shop.stripe.set_away(false);
    // As if the first one had died before it asked: nobody but the row knows of it.
    let other = shop.another().await;
    shop.hurry().await;
    look(&other).await;
    let payment = shop.stripe.payments().pop().unwrap();
    let id = ordered["purchase_id"].as_str().unwrap();
    let status = client.get(&format!("/api/v1/credits/purchases/{id}")).await;
    assert!(status.expect(StatusCode::OK)["client_secret"].is_string());
    shop.stripe.pay(&payment);
    let status = client.get(&format!("/api/v1/credits/purchases/{id}")).await;
    assert_eq!(status.expect(StatusCode::OK)["state"], "paid");
    assert_eq!(client.balances().await.0, TEN);
    assert_eq!(shop.stripe.payments().len(), 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_answer_that_gets_lost_makes_no_second_payment(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    shop.stripe
        .meets([Fault::LostAnswer, Fault::LostAnswer, Fault::LostAnswer]);
    let unanswered = shop.buy(&client, "10", "a").await;
    let unanswered = unanswered.expect(StatusCode::ACCEPTED);
    assert_eq!(unanswered.get("client_secret"), None);
    let (again, payment) = shop.order(&client, "10", "a").await;
    assert!(again["client_secret"].is_string());
    assert_eq!(again["purchase_id"], unanswered["purchase_id"]);
    assert_eq!(shop.stripe.payments().len(), 1);
    shop.stripe.pay(&payment);
    shop.told("payment_intent.succeeded", &payment).await;
    assert_eq!(client.balances().await.0, TEN);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_webhook_that_comes_before_the_answer_brings_the_credits_once(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    shop.stripe.meets([Fault::Held]);
    let webhook_first = async {
        soon(shop.stripe.holds()).await;
        let payment = shop.stripe.payments().pop().unwrap();
        shop.stripe.pay(&payment);
        let told = shop.told("payment_intent.succeeded", &payment).await;
        assert_eq!(told.status, StatusCode::OK);
        assert_eq!(client.balances().await.0, TEN);
        shop.stripe.let_go();
    };
    let (bought, ()) = tokio::join!(shop.buy(&client, "10", "a"), webhook_first);
    let bought = bought.expect(StatusCode::CREATED);
    assert_eq!(
        (&bought["state"], &bought["available_microcredits"]),
        (&json!("paid"), &json!(TEN))
    );
    assert_eq!(shop.moved("purchase").await, 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_webhook_that_is_forged_altered_old_or_a_lie_moves_nothing(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    let (_, payment) = shop.order(&client, "10", "a").await;
    let now = Clock::system().now();
    let paid = json!({"type": "payment_intent.succeeded", "data": {"object": {"id": payment,
        "status": "succeeded", "amount_received": 1000, "currency": "usd"}}})
    .to_string();
    let ago = now.saturating_sub(SignedDuration::from_secs(301)).unwrap();
    let altered = paid.replace("1000", "9999");
    for (body, signature) in [
        (&paid, None),
        (
            &paid,
            Some(sign_webhook("whsec_guessed", now, paid.as_bytes())),
        ),
        (
            &altered,
            Some(sign_webhook(WEBHOOK_SECRET, now, paid.as_bytes())),
        ),
        (
            &paid,
            Some(sign_webhook(WEBHOOK_SECRET, ago, paid.as_bytes())),
        ),
        (&paid, Some("t=1,v1=".to_owned())),
    ] {
        let refused = shop.webhook(body, signature.as_deref()).await;
        refused.problem(400, "webhook-not-verified");
    }
    // Whoever has the secret still has to have the money.
    let signature = sign_webhook(WEBHOOK_SECRET, now, paid.as_bytes());
    let lie = shop.webhook(&paid, Some(&signature)).await;
    assert_eq!(lie.status, StatusCode::OK);
    let huge = "x".repeat(300 * 1024);
    let refused = shop.webhook(&huge, Some(&signature)).await;
    refused.problem(400, "invalid-request");
    for (kind, name) in [
        ("payment_intent.succeeded", "pi_of_somebody_else"),
        ("customer.created", payment.as_str()),
    ] {
        assert_eq!(shop.told(kind, name).await.status, StatusCode::OK, "{kind}");
    }
    assert_eq!(client.balances().await.0, 0);
    assert_eq!(shop.moved("purchase").await, 0);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn webhooks_jobs_and_requests_of_two_coordinators_at_once_credit_once(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let other = shop.another().await;
    let (_, client) = shop.coordinator.user().await;
    let (_, payment) = shop.order(&client, "10", "a").await;
    shop.stripe.pay(&payment);
    shop.hurry().await;
    let told = || shop.told("payment_intent.succeeded", &payment);
    let (one, two, (), (), three) = tokio::join!(
        told(),
        told(),
        look(&shop.coordinator),
        look(&other),
        shop.buy(&client, "10", "a"),
    );
    for answer in [one, two] {
        assert_eq!(answer.status, StatusCode::OK);
    }
    three.expect(StatusCode::CREATED);
    assert_eq!(client.balances().await.0, TEN);
    assert_eq!(shop.moved("purchase").await, 1);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn another_amount_than_was_ordered_is_not_credited(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    let (purchase, payment) = shop.order(&client, "10", "a").await;
    shop.stripe.pay(&payment);
    shop.stripe
        .change(&payment, &json!({"amount_received": 999}));
    shop.told("payment_intent.succeeded", &payment).await;
    let id = purchase["purchase_id"].as_str().unwrap();
    let status = client.get(&format!("/api/v1/credits/purchases/{id}")).await;
    let status = status.expect(StatusCode::OK);
    assert_eq!(status["state"], "failed");
    assert!(status["reason"].as_str().unwrap().contains("9.99"));
    assert_eq!(client.balances().await.0, 0);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_not_paid_in_time_is_called_off_and_what_is_paid_in_the_last_moment_is_credited(
    pool: PgPool,
) {
    let shop = Shop::open(pool.clone()).await;
    let (_, client) = shop.coordinator.user().await;
    let (_, unpaid) = shop.order(&client, "10", "a").await;
    let (_, paid) = shop.order(&client, "20", "b").await;
    sqlx::query("UPDATE purchases SET created_at = now() - interval '25 hours'")
        .execute(&pool)
        .await
        .unwrap();
    shop.stripe.pay(&paid);
    shop.hurry().await;
    look(&shop.coordinator).await;
    assert_eq!(shop.stripe.object(&unpaid).unwrap()["status"], "canceled");
    assert_eq!(client.balances().await.0, 2 * TEN);
    shop.buy(&client, "10", "a")
        .await
        .problem(402, "payment-refused");
    // Money that arrives after all is credited after all.
    shop.stripe.pay(&unpaid);
    shop.told("payment_intent.succeeded", &unpaid).await;
    assert_eq!(client.balances().await.0, 3 * TEN);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purchase_that_the_provider_refuses_has_failed_for_good(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, client) = shop.coordinator.user().await;
    shop.stripe.meets([Fault::Refused {
        status: 400,
        kind: "invalid_request_error",
        code: "amount_too_small",
        message: "Amount must be at least $0.50 usd",
    }]);
    for _ in 0..2 {
        let refused = shop.buy(&client, "0.10", "a").await;
        let problem = refused.problem(402, "payment-refused");
        assert!(problem["detail"].as_str().unwrap().contains("$0.50"));
    }
    assert!(shop.stripe.payments().is_empty());
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn purchases_have_ceilings_each_and_together(pool: PgPool) {
    let settings = ["money.purchase_max_usd=100", "money.open_purchases=2"];
    let shop = Shop::with(pool.clone(), &settings).await;
    let (_, client) = shop.coordinator.user().await;
    let refused = shop.buy(&client, "100.01", "much").await;
    let problem = refused.problem(400, "invalid-request");
    assert!(problem["detail"].as_str().unwrap().contains("100 USD"));
    shop.order(&client, "100", "a").await;
    let (_, second) = shop.order(&client, "1", "b").await;
    let refused = shop.buy(&client, "1", "c").await;
    assert_eq!(refused.problem(403, "too-many-purchases")["limit"], 2);
    // One that is known is no further one, and whoever pays has room again.
    shop.order(&client, "1", "b").await;
    shop.stripe.pay(&second);
    shop.told("payment_intent.succeeded", &second).await;
    shop.order(&client, "1", "c").await;
    let (_, neighbour) = shop.coordinator.user().await;
    shop.order(&neighbour, "1", "c").await;
    assert_eq!(count(&pool, "SELECT count(*) FROM purchases").await, 4);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purchase_of_before_they_were_written_down_is_known_by_its_key(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.user().await;
    let buy = |usd: u32| {
        let call = client.post("/api/v1/auth/credits/purchase");
        let call = call.header("idempotency-key", "old");
        call.body(json!({"amount_usd": usd}).to_string()).send()
    };
    let first = buy(10).await.expect(StatusCode::CREATED);
    sqlx::query("DELETE FROM purchases")
        .execute(&pool)
        .await
        .unwrap();
    let again = buy(10).await.expect(StatusCode::CREATED);
    assert_eq!(again["transfer_id"], first["transfer_id"]);
    buy(11).await.problem(422, "idempotency-key-reused");
    assert_eq!(client.balances().await.0, TEN);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn no_secret_of_the_provider_is_in_the_database(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let (_, client) = shop.coordinator.user().await;
    let (purchase, payment) = shop.order(&client, "10", "a").await;
    assert!(purchase.to_string().contains("planted"));
    shop.stripe.pay(&payment);
    shop.told("payment_intent.succeeded", &payment).await;
    for table in [
        "SELECT count(*) FROM purchases t WHERE t::text LIKE '%planted%'",
        "SELECT count(*) FROM transfers t WHERE t::text LIKE '%planted%'",
    ] {
        assert_eq!(count(&pool, table).await, 0);
    }
}
