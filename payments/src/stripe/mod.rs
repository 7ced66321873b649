//! Stripe, over its documented HTTP (<https://docs.stripe.com/api>): PaymentIntents bring money in, transfers to connected
//! accounts (Connect) take it out, disputes take it back, and signed webhooks tell that something has happened.
//!
//! | what | asks |
//! |---|---|
//! | a payment | `POST /v1/payment_intents`, `GET …/{id}`, `POST …/{id}/cancel` |
//! | a transfer | `POST /v1/transfers`, `GET …/{id}`, `GET /v1/transfers?transfer_group=` |
//! | a dispute | `GET /v1/disputes/{id}`, `GET /v1/disputes` |
//! | a destination | `POST /v1/accounts`, `GET …/{id}`, `POST /v1/account_links` |
//!
//! A payment is completed in the customer's browser, with Stripe's own scripts and the payment's client secret: no card's
//! number ever comes here.

mod http;
mod objects;
mod webhook;

use jiff::Timestamp;
use zeroize::Zeroizing;

use self::http::{Http, Question};
use self::objects::{
    Account, AccountLink, Intent, List, StripeDispute, StripeRefund, StripeTransfer,
};
use crate::{
    Asked, Destination, DestinationOrder, Dispute, Notice, Payment, PaymentOrder, Provider,
    ProviderError, ProviderName, Transfer, TransferOrder, WebhookError,
};

pub use self::webhook::sign_webhook;

/// What it takes to be this operator at Stripe.
pub struct StripeSettings {
    /// <https://api.stripe.com>, or where somebody speaks like it.
    pub api_url: String,
    /// `sk_…`, or a restricted key `rk_…` with the rights that docs/operating-a-coordinator.md names.
    pub secret_key: Zeroizing<String>,
    /// `whsec_…`, of the webhook endpoint.
    pub webhook_secret: Zeroizing<String>,
    /// Where Stripe sends people back to when they have told about themselves.
    pub return_url: Option<String>,
}

pub struct Stripe {
    http: Http,
    webhook_secret: Zeroizing<String>,
    return_url: Option<String>,
}

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripe").finish_non_exhaustive()
    }
}

impl Stripe {
    pub fn new(settings: StripeSettings) -> Result<Self, ProviderError> {
        Ok(Self {
            http: Http::new(&settings.api_url, &settings.secret_key)?,
            webhook_secret: settings.webhook_secret,
            return_url: settings.return_url,
        })
    }

    /// The payment as it stands now; the answer to a repeated question is the first answer, and that may be old.
    async fn payment(&self, name: &str) -> Result<Payment, ProviderError> {
        let intent: Intent = self.http.get("/v1/payment_intents", name).await?;
        intent.payment()
    }
}

impl Provider for Stripe {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
    }

    fn moves_money(&self) -> bool {
        true
    }

    fn create_payment<'a>(&'a self, order: &'a PaymentOrder) -> Asked<'a, Payment> {
        Box::pin(async move {
            let question = Question::post("/v1/payment_intents", &order.key)
                .with("amount", order.amount.get().to_string())
                .with("currency", objects::CURRENCY)
                .with("automatic_payment_methods[enabled]", "true")
                .with(
                    &format!("metadata[{}]", objects::PURCHASE),
                    order.id.to_string(),
                );
            let intent: Intent = self.http.ask(&question).await?;
            intent.payment()
        })
    }

    fn fetch_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment> {
        Box::pin(self.payment(name))
    }

    fn cancel_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment> {
        Box::pin(async move {
            let path = objects::path("/v1/payment_intents", name)? + "/cancel";
            let question = Question::post(&path, &format!("cancel:{name}"))
                .with("cancellation_reason", "abandoned");
            match self.http.ask::<Intent>(&question).await {
                Ok(intent) => intent.payment(),
                // It was paid, or called off before: how it stands decides.
                Err(ProviderError::Refused { .. }) => self.payment(name).await,
                Err(error) => Err(error),
            }
        })
    }

    fn create_transfer<'a>(&'a self, order: &'a TransferOrder) -> Asked<'a, Transfer> {
        Box::pin(async move {
            let Some(destination) = &order.destination else {
                return Err(ProviderError::Refused {
                    reason: "there is nobody to pay it to".to_owned(),
                });
            };
            let question = Question::post("/v1/transfers", &order.key)
                .with("amount", order.amount.get().to_string())
                .with("currency", objects::CURRENCY)
                .with("destination", destination.as_str())
                .with("transfer_group", objects::group_of(order.id))
                .with(
                    &format!("metadata[{}]", objects::PAYOUT),
                    order.id.to_string(),
                );
            let transfer: StripeTransfer = self.http.ask(&question).await?;
            transfer.transfer()
        })
    }

    fn find_transfer<'a>(&'a self, order: &'a TransferOrder) -> Asked<'a, Option<Transfer>> {
        Box::pin(async move {
            let question = Question::get("/v1/transfers")
                .with("transfer_group", objects::group_of(order.id))
                .with("limit", "10");
            let found: List<StripeTransfer> = self.http.ask(&question).await?;
            let found: Result<Vec<Transfer>, _> =
                found.data.iter().map(StripeTransfer::transfer).collect();
            let of_order = |transfer: &Transfer| transfer.order == Some(order.id);
            Ok(found?.into_iter().find(of_order))
        })
    }

    fn fetch_transfer<'a>(&'a self, name: &'a str) -> Asked<'a, Transfer> {
        Box::pin(async move {
            let transfer: StripeTransfer = self.http.get("/v1/transfers", name).await?;
            transfer.transfer()
        })
    }

    fn fetch_dispute<'a>(&'a self, name: &'a str) -> Asked<'a, Dispute> {
        Box::pin(async move {
            if StripeRefund::is_named(name) {
                let refund: StripeRefund = self.http.get("/v1/refunds", name).await?;
                return refund.refund();
            }
            let dispute: StripeDispute = self.http.get("/v1/disputes", name).await?;
            dispute.dispute()
        })
    }

    fn recent_disputes(&self) -> Asked<'_, Vec<Dispute>> {
        Box::pin(async move {
            let question = Question::get("/v1/disputes").with("limit", "100");
            let found: List<StripeDispute> = self.http.ask(&question).await?;
            let disputes = found.data.iter().map(StripeDispute::dispute);
            let question = Question::get("/v1/refunds").with("limit", "100");
            let found: List<StripeRefund> = self.http.ask(&question).await?;
            let refunds = found.data.iter().map(StripeRefund::refund);
            disputes.chain(refunds).collect()
        })
    }

    fn create_destination<'a>(&'a self, order: &'a DestinationOrder) -> Asked<'a, Destination> {
        Box::pin(async move {
            let mut question = Question::post("/v1/accounts", &order.key)
                .with("type", "express")
                .with("capabilities[transfers][requested]", "true")
                .with("metadata[destination_id]", order.id.to_string());
            if let Some(country) = &order.country {
                question = question.with("country", country.as_str());
            }
            let account: Account = self.http.ask(&question).await?;
            account.destination()
        })
    }

    fn fetch_destination<'a>(&'a self, name: &'a str) -> Asked<'a, Destination> {
        Box::pin(async move {
            let account: Account = self.http.get("/v1/accounts", name).await?;
            account.destination()
        })
    }

    fn onboarding_page<'a>(&'a self, destination: &'a str) -> Asked<'a, Option<String>> {
        Box::pin(async move {
            let Some(return_url) = &self.return_url else {
                return Err(ProviderError::Settings(
                    "stripe.return_url is not set: Stripe needs a page of yours to send people back to"
                        .to_owned(),
                ));
            };
            // Each link is good once and for minutes, so that no two questions are the same.
            let question = Question::post_anew("/v1/account_links")
                .with("account", destination)
                .with("refresh_url", return_url.as_str())
                .with("return_url", return_url.as_str())
                .with("type", "account_onboarding");
            let link: AccountLink = self.http.ask(&question).await?;
            Ok(Some(link.url))
        })
    }

    fn signature_header(&self) -> &'static str {
        "stripe-signature"
    }

    fn notice(
        &self,
        signature: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Notice, WebhookError> {
        let signature = signature.ok_or(WebhookError::Unsigned)?;
        webhook::verify(signature, body, &self.webhook_secret, now)?;
        webhook::notice(body)
    }
}
