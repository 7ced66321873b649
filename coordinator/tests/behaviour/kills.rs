//! Coordinators that are killed in the middle of a payment: money moves once, whatever had been done by then.
//!
//! Work is left lying wherever it first waits for something, then at its second wait, and so on to its end: between the row
//! and the provider, between question and answer, between answer and row.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use coordinator::billing::{payouts, purchases};
use coordinator::bookkeeping::chart;
use http::StatusCode;
use model::ids::UserId;
use model::money::UsdCents;
use proto::MicroCredits;
use sqlx::PgPool;

use crate::payouts::{FIVE_USD, ask, operator};
use crate::support::economy::of_node;
use crate::support::shop::Shop;
use crate::support::{post, total};

/// Credits for 10 USD.
const TEN: i64 = 1_000_000_000;

/// More than any payment waits.
const MOST_STEPS: usize = 300;

/// Leaves work lying at its wait of this number. `true` when it came to its end before.
async fn is_done_before(step: usize, work: impl Future) -> bool {
    let mut work = pin!(work);
    let mut waits = 0;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if waits == step => Poll::Ready(false),
        Poll::Pending => {
            waits += 1;
            Poll::Pending
        }
    })
    .await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purchase_that_is_killed_at_any_step_is_charged_and_credited_once(pool: PgPool) {
    let settings = ["money.purchases_per_day=1000"];
    let shop = Shop::with(pool, &settings).await;
    let (user, client) = shop.coordinator.user().await;
    let billing = &shop.coordinator.app.billing;
    let ten = UsdCents::new(1000);
    for step in 0..MOST_STEPS {
        let key = format!("key {step}");
        let bought = purchases::purchase(billing, user, ten, Some(&key));
        let has_ordered = is_done_before(step, bought).await;
        // Whoever did not hear of it asks again.
        shop.buy(&client, "10", &key)
            .await
            .expect(StatusCode::ACCEPTED);
        let payments = shop.stripe.payments();
        assert_eq!(payments.len(), step + 1, "one payment for each purchase");
        let payment = payments.last().unwrap();
        shop.stripe.pay(payment);
        let provider = billing.provider().unwrap();
        let settled = purchases::told(billing, provider, payment, None);
        let has_settled = is_done_before(step, settled).await;
        let again = shop.told("payment_intent.succeeded", payment).await;
        assert_eq!(again.status, StatusCode::OK);
        let paid = (step as i64 + 1) * TEN;
        assert_eq!(total(&shop.pool, chart::available(user)).await, paid);
        if has_ordered && has_settled {
            shop.verified().await;
            return;
        }
    }
    panic!("a purchase that waits more than {MOST_STEPS} times");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_payout_that_is_killed_at_any_step_is_paid_once(pool: PgPool) {
    let shop = Shop::open(pool).await;
    let (_, node) = operator(&shop).await;
    let more = FIVE_USD * MOST_STEPS as i64;
    let entries = [(chart::INCOME, -more), (chart::node_available(node), more)];
    post(&shop.pool, "more", &entries).await.unwrap();
    let had = of_node(&shop.pool, node).await.1;
    let user = sqlx::query_scalar("SELECT operator_id FROM nodes WHERE node_id = $1");
    let user = user.bind(node.as_uuid()).fetch_one(&shop.pool).await;
    let user = Some(UserId::from_uuid(user.unwrap()));
    let billing = &shop.coordinator.app.billing;
    let five = Some(MicroCredits::new(FIVE_USD));
    for step in 0..MOST_STEPS {
        let key = format!("key {step}");
        let asked = payouts::request(billing, (node, user), five, Some(&key));
        let has_asked = is_done_before(step, asked).await;
        payouts::request(billing, (node, user), five, Some(&key))
            .await
            .unwrap();
        // So may whoever goes on with it.
        shop.hurry().await;
        let looked = is_done_before(step, payouts::ask_one(billing)).await;
        shop.hurry().await;
        ask(&shop.coordinator).await;
        assert_eq!(shop.stripe.transfers().len(), step + 1, "one transfer each");
        let paid = (step as i64 + 1) * FIVE_USD;
        assert_eq!(of_node(&shop.pool, node).await.1, had - paid);
        if has_asked && looked {
            let open = "SELECT count(*) FROM payouts WHERE state <> 'paid'";
            let open: i64 = sqlx::query_scalar(open)
                .fetch_one(&shop.pool)
                .await
                .unwrap();
            assert_eq!(open, 0);
            shop.verified().await;
            return;
        }
    }
    panic!("a payout that waits more than {MOST_STEPS} times");
}
