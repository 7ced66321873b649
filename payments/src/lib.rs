//! Who takes money for credits, and pays it out.
//!
//! A [`Provider`] is asked for payments, transfers and accounts to pay to, each under a key that it does once: whoever got no
//! answer asks again under the same one. What has come of them is believed only when the provider is asked for it
//! (`fetch_…`); a webhook ([`Provider::notice`]) says what to look at, and nothing else.
//!
//! [`Mock`] takes every payment and moves no money. [`Stripe`] speaks the documented HTTP of Stripe's API. Neither keeps
//! anything: what was ordered, and whether it has settled, stands in the coordinator's database, written before the
//! provider is asked.
//!
//! Rejected: settling by what an event says. Events come twice, late and in any order, and whoever got hold of the secret
//! of webhooks could make money with it. Rejected, too: a client library. It would bring hundreds of types for the twelve
//! calls that are made here, and its own idea of retries.
//!
//! ```
//! use model::money::UsdCents;
//! use payments::{Mock, PaymentOrder, Provider};
//! use uuid::Uuid;
//!
//! # futures::executor::block_on(async {
//! let order = PaymentOrder { id: Uuid::nil(), key: "purchase:1".to_owned(), amount: UsdCents::new(1_000) };
//! let payment = Mock.create_payment(&order).await.unwrap();
//! assert_eq!(payment.received, order.amount);
//! # });
//! ```

mod error;
mod mock;
mod provider;
#[cfg(feature = "stand-in")]
pub mod stand_in;
mod stripe;

pub use error::{ProviderError, WebhookError};
pub use mock::Mock;
pub use provider::{
    Asked, ClientSecret, Destination, DestinationOrder, Dispute, Notice, Payment, PaymentOrder,
    Provider, ProviderName, Transfer, TransferOrder,
};
pub use stripe::{Stripe, StripeSettings, sign_webhook};
