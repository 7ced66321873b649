//! Payments that a bank calls back: what was bought goes, as far as it is there, and comes back when the dispute is won.

use coordinator::billing::disputes;
use coordinator::bookkeeping::chart;
use http::StatusCode;
use model::ids::UserId;
use serde_json::json;
use sqlx::PgPool;

use crate::support::shop::Shop;
use crate::support::{Coordinator, count, post, total};

/// Credits for 10 USD.
const TEN: i64 = 1_000_000_000;

async fn look(coordinator: &Coordinator) {
    while disputes::look_at_one(&coordinator.app.billing)
        .await
        .unwrap()
    {}
}

/// What the account has, and what the platform has lost.
async fn of(shop: &Shop, user: UserId) -> (i64, i64) {
    (
        total(&shop.pool, chart::available(user)).await,
        total(&shop.pool, chart::LOSSES).await,
    )
}

async fn spend(shop: &Shop, user: UserId, amount: i64) {
    let entries = [(chart::available(user), -amount), (chart::INCOME, amount)];
    post(&shop.pool, "spent", &entries).await.unwrap();
}

async fn suspension(shop: &Shop, user: UserId) -> Option<String> {
    let query = sqlx::query_scalar("SELECT suspended_reason FROM users WHERE user_id = $1");
    let query = query.bind(user.as_uuid());
    query.fetch_one(&shop.pool).await.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chargeback_takes_what_is_there_and_the_rest_is_the_platforms_loss(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    spend(&shop, user, TEN * 6 / 10).await;
    let dispute = shop.stripe.dispute(&payment, 1000, "needs_response");
    for kind in ["charge.dispute.created", "charge.dispute.funds_withdrawn"] {
        assert_eq!(shop.told(kind, &dispute).await.status, StatusCode::OK);
    }
    assert_eq!(of(&shop, user).await, (0, -TEN * 6 / 10));
    assert_eq!(shop.moved("purchase_reversed").await, 1);
    assert_eq!(
        suspension(&shop, user).await,
        Some(format!("chargeback {dispute}"))
    );
    for key in ["a", "b"] {
        let refused = shop.buy(&client, "10", key).await;
        let problem = refused.problem(403, "account-suspended");
        assert!(problem["detail"].as_str().unwrap().contains(&dispute));
    }
    shop.stripe.change(&dispute, &json!({"status": "lost"}));
    shop.told("charge.dispute.closed", &dispute).await;
    assert_eq!(of(&shop, user).await, (0, -TEN * 6 / 10));
    let open = "SELECT count(*) FROM disputes WHERE try_at IS NOT NULL";
    assert_eq!(count(&shop.pool, open).await, 0);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_dispute_that_is_won_gives_back_what_it_took_and_ends_the_suspension(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    spend(&shop, user, TEN / 4).await;
    let dispute = shop.stripe.dispute(&payment, 1000, "needs_response");
    shop.told("charge.dispute.created", &dispute).await;
    assert_eq!(of(&shop, user).await, (0, -TEN / 4));
    shop.stripe.change(&dispute, &json!({"status": "won"}));
    for _ in 0..2 {
        shop.told("charge.dispute.funds_reinstated", &dispute).await;
    }
    assert_eq!(of(&shop, user).await, (TEN * 3 / 4, 0));
    assert_eq!(suspension(&shop, user).await, None);
    let decided =
        sqlx::query_scalar("SELECT decision FROM account_decisions WHERE reason = $1 ORDER BY at");
    let decided = decided.bind(format!("chargeback {dispute}"));
    let decided: Vec<String> = decided.fetch_all(&shop.pool).await.unwrap();
    assert_eq!(decided, ["payment_called_back", "payment_given_back"]);
    let moved = (
        shop.moved("purchase_reversed").await,
        shop.moved("purchase_restored").await,
    );
    assert_eq!(moved, (1, 1));
    let again = shop
        .buy(&client, "10", "a")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(again["state"], "paid");
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_beginning_of_a_dispute_told_after_its_end_takes_nothing(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    let dispute = shop.stripe.dispute(&payment, 1000, "won");
    shop.told("charge.dispute.closed", &dispute).await;
    // The event of its beginning has it as it was then.
    let began = json!({"type": "charge.dispute.created", "data": {"object": {"id": dispute,
        "object": "dispute", "payment_intent": payment, "status": "needs_response", "amount": 1000}}})
    .to_string();
    let now = kit::Clock::system().now();
    let signature =
        payments::sign_webhook(payments::stand_in::WEBHOOK_SECRET, now, began.as_bytes());
    let late = shop.webhook(&began, Some(&signature)).await;
    assert_eq!(late.status, StatusCode::OK);
    assert_eq!(of(&shop, user).await, (TEN, 0));
    assert_eq!(suspension(&shop, user).await, None);
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_question_of_the_bank_takes_nothing_and_part_of_a_payment_takes_its_part(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    let dispute = shop.stripe.dispute(&payment, 300, "warning_needs_response");
    shop.told("charge.dispute.created", &dispute).await;
    assert_eq!(of(&shop, user).await, (TEN, 0));
    shop.stripe
        .change(&dispute, &json!({"status": "needs_response"}));
    shop.told("charge.dispute.updated", &dispute).await;
    assert_eq!(of(&shop, user).await, (TEN * 7 / 10, 0));
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_dispute_that_no_webhook_told_of_is_found_and_followed_to_its_end(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    let dispute = shop.stripe.dispute(&payment, 1000, "under_review");
    shop.stripe
        .dispute("pi_of_somebody_else", 5, "needs_response");
    for _ in 0..2 {
        disputes::look_for_unknown(&shop.coordinator.app.billing)
            .await
            .unwrap();
        look(&shop.coordinator).await;
    }
    assert_eq!(of(&shop, user).await, (0, 0));
    shop.stripe.change(&dispute, &json!({"status": "won"}));
    shop.hurry().await;
    look(&shop.coordinator).await;
    assert_eq!(of(&shop, user).await, (TEN, 0));
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_dispute_waits_while_the_provider_is_away(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    let dispute = shop.stripe.dispute(&payment, 1000, "needs_response");
    shop.stripe.set_away(true);
    shop.told("charge.dispute.created", &dispute).await;
    assert_eq!(of(&shop, user).await, (TEN, 0));
    shop.stripe.set_away(false);
    shop.hurry().await;
    look(&shop.coordinator).await;
    assert_eq!(of(&shop, user).await, (0, 0));
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_dispute_about_a_purchase_whose_webhook_got_lost_settles_it_first(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let (_, payment) = shop.order(&client, "10", "a").await;
    shop.stripe.pay(&payment);
    let dispute = shop.stripe.dispute(&payment, 1000, "needs_response");
    shop.told("charge.dispute.created", &dispute).await;
    assert_eq!(of(&shop, user).await, (0, 0));
    let moved = (
        shop.moved("purchase").await,
        shop.moved("purchase_reversed").await,
    );
    assert_eq!(moved, (1, 1));
    shop.verified().await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_paid_back_by_hand_takes_its_credits_once_and_suspends_nobody(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (user, client) = shop.coordinator.user().await;
    let payment = shop.sell(&client, "10", "a").await;
    let refund = shop.stripe.refund(&payment, 400, "pending");
    for kind in ["refund.created", "charge.refund.updated"] {
        assert_eq!(shop.told(kind, &refund).await.status, StatusCode::OK);
    }
    assert_eq!(of(&shop, user).await, (TEN * 6 / 10, 0));
    shop.stripe.change(&refund, &json!({"status": "succeeded"}));
    shop.told("refund.updated", &refund).await;
    assert_eq!(of(&shop, user).await, (TEN * 6 / 10, 0));
    assert_eq!(shop.moved("purchase_reversed").await, 1);
    assert_eq!(suspension(&shop, user).await, None);
    let decided = "SELECT count(*) FROM account_decisions WHERE decision = 'payment_called_back'";
    assert_eq!(count(&shop.pool, decided).await, 1);
    // One that fails is given back; one of which no webhook came is found all the same.
    let failing = shop.stripe.refund(&payment, 100, "pending");
    shop.told("refund.created", &failing).await;
    shop.stripe.change(&failing, &json!({"status": "failed"}));
    shop.told("refund.failed", &failing).await;
    assert_eq!(of(&shop, user).await, (TEN * 6 / 10, 0));
    shop.stripe.refund(&payment, 200, "succeeded");
    disputes::look_for_unknown(&shop.coordinator.app.billing)
        .await
        .unwrap();
    look(&shop.coordinator).await;
    assert_eq!(of(&shop, user).await, (TEN * 4 / 10, 0));
    shop.verified().await;
}
