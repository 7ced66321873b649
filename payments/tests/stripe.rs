//! Stripe's documented HTTP, against somebody who speaks it: what is asked once is done once, whatever becomes of the answer.
#![allow(clippy::unwrap_used, clippy::panic)]

use model::money::UsdCents;
use model::payment::{DisputeStanding, PaymentStanding, TransferStanding};
use payments::stand_in::{Fault, StandIn};
use payments::{DestinationOrder, PaymentOrder, Provider, ProviderError, TransferOrder};
use serde_json::json;
use uuid::Uuid;

fn order(id: u128, cents: u64) -> PaymentOrder {
    PaymentOrder {
        id: Uuid::from_u128(id),
        key: format!("purchase:{id}"),
        amount: UsdCents::new(cents),
    }
}

#[tokio::test]
async fn a_payment_is_made_once_paid_and_seen_to_be() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    let made = provider.create_payment(&order(1, 1000)).await.unwrap();
    assert_eq!(made.standing, PaymentStanding::Open);
    assert!(made.client_secret.is_some());
    assert_eq!(made.order, Some(Uuid::from_u128(1)));
    stripe.pay(&made.name);
    // The same question has the first answer; how it stands now is asked for by name.
    let again = provider.create_payment(&order(1, 1000)).await.unwrap();
    assert_eq!(again, made);
    let paid = provider.fetch_payment(&made.name).await.unwrap();
    assert_eq!(
        (paid.standing, paid.received),
        (PaymentStanding::Paid, UsdCents::new(1000))
    );
    assert_eq!(stripe.payments().len(), 1);
}

#[tokio::test]
async fn a_question_whose_answer_gets_lost_is_asked_again_under_its_key() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    stripe.meets([Fault::LostAnswer, Fault::Away]);
    provider.create_payment(&order(1, 500)).await.unwrap();
    assert_eq!(stripe.payments().len(), 1);
    stripe.set_away(true);
    let away = provider.create_payment(&order(2, 500)).await.unwrap_err();
    assert!(matches!(away, ProviderError::Passing { status: 503, .. }));
    assert_eq!(stripe.payments().len(), 1);
}

#[tokio::test]
async fn a_payment_that_was_paid_in_the_last_moment_is_not_called_off() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    let (one, two) = (order(1, 500), order(2, 500));
    let one = provider.create_payment(&one).await.unwrap();
    let two = provider.create_payment(&two).await.unwrap();
    stripe.pay(&two.name);
    let cancelled = provider.cancel_payment(&one.name).await.unwrap();
    assert_eq!(cancelled.standing, PaymentStanding::Failed);
    let paid = provider.cancel_payment(&two.name).await.unwrap();
    assert_eq!(paid.standing, PaymentStanding::Paid);
}

#[tokio::test]
async fn a_transfer_is_found_when_its_key_is_forgotten() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    let destination = DestinationOrder {
        id: Uuid::from_u128(9),
        key: "destination:9".to_owned(),
        country: None,
    };
    let account = provider.create_destination(&destination).await.unwrap();
    let mut order = TransferOrder {
        id: Uuid::from_u128(7),
        key: "payout:7".to_owned(),
        amount: UsdCents::new(250),
        destination: Some(account.name.clone()),
    };
    assert!(!account.ready);
    let refused = provider.create_transfer(&order).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Refused { .. }));
    let page = provider.onboarding_page(&account.name).await.unwrap();
    assert!(page.unwrap().starts_with("https://"));
    stripe.onboard(&account.name);
    assert!(
        provider
            .fetch_destination(&account.name)
            .await
            .unwrap()
            .ready
    );
    order.key = "payout:7:again".to_owned();
    assert_eq!(provider.find_transfer(&order).await.unwrap(), None);
    let made = provider.create_transfer(&order).await.unwrap();
    stripe.forget_keys();
    let found = provider.find_transfer(&order).await.unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(found.standing, TransferStanding::Paid);
    stripe.change(&made.name, &json!({"amount_reversed": 250}));
    let returned = provider.fetch_transfer(&made.name).await.unwrap();
    assert_eq!(returned.standing, TransferStanding::Returned);
}

#[tokio::test]
async fn disputes_are_listed_and_looked_at() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    let payment = provider.create_payment(&order(1, 500)).await.unwrap();
    stripe.pay(&payment.name);
    let name = stripe.dispute(&payment.name, 500, "needs_response");
    let listed = provider.recent_disputes().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].payment.as_deref(), Some(payment.name.as_str()));
    stripe.change(&name, &json!({"status": "lost"}));
    let lost = provider.fetch_dispute(&name).await.unwrap();
    assert_eq!(lost.standing, DisputeStanding::Lost);
}

#[tokio::test]
async fn another_question_under_the_same_key_is_no_refusal() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    provider.create_payment(&order(1, 500)).await.unwrap();
    let other = provider.create_payment(&order(1, 501)).await.unwrap_err();
    assert!(matches!(other, ProviderError::Unexpected { .. }), "{other}");
}

#[tokio::test]
async fn neither_errors_nor_the_provider_show_a_secret() {
    let stripe = StandIn::start().await.unwrap();
    let provider = stripe.provider().unwrap();
    stripe.set_away(true);
    let away = provider.create_payment(&order(1, 500)).await.unwrap_err();
    let shown = format!("{away} {away:?} {provider:?}");
    assert!(!shown.contains("planted"), "{shown}");
}
