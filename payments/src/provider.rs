//! What a payment provider can be asked for.

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;
use model::money::UsdCents;
use model::payment::{DisputeStanding, PaymentStanding, TransferStanding};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ProviderError, WebhookError};

/// Which provider: as it is set, shown, and kept with what was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// Takes every payment and moves no money.
    Mock,
    Stripe,
}

impl ProviderName {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Stripe => "stripe",
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A payment that is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentOrder {
    /// The purchase; the payment carries it, so that it is found whatever gets lost.
    pub id: Uuid,
    /// Under which the provider does it once.
    pub key: String,
    pub amount: UsdCents,
}

/// What completes a payment in its customer's browser. Told to the customer, and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(pub String);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// A payment as it stands with the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The provider's own name for it.
    pub name: String,
    /// The purchase that it was made for.
    pub order: Option<Uuid>,
    pub standing: PaymentStanding,
    /// What has arrived of it.
    pub received: UsdCents,
    pub client_secret: Option<ClientSecret>,
    /// Why it failed, in the provider's words.
    pub reason: Option<String>,
}

/// Money that is to be sent to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferOrder {
    /// The payout; the transfer carries it.
    pub id: Uuid,
    /// Under which the provider does it once.
    pub key: String,
    pub amount: UsdCents,
    /// The provider's name of whom it goes to. A provider that moves money needs it.
    pub destination: Option<String>,
}

/// A transfer as it stands with the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub name: String,
    /// The payout that it was made for.
    pub order: Option<Uuid>,
    pub standing: TransferStanding,
    pub amount: UsdCents,
}

/// A payment that its customer's bank calls back, or that the operator has paid back by hand at the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    pub name: String,
    /// The provider's name of the payment.
    pub payment: Option<String>,
    pub standing: DisputeStanding,
    pub amount: UsdCents,
    /// Paid back by hand: the account has done nothing wrong.
    pub is_refund: bool,
}

/// Somebody who wants to be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationOrder {
    pub id: Uuid,
    pub key: String,
    /// ISO 3166, two letters; the provider's own country when left out.
    pub country: Option<String>,
}

/// Whom the provider can pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub name: String,
    /// Whether transfers arrive. Until then the owner has to tell the provider about himself.
    pub ready: bool,
}

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Payment {
        name: String,
        order: Option<Uuid>,
    },
    Transfer {
        name: String,
        order: Option<Uuid>,
    },
    Dispute {
        name: String,
        payment: String,
    },
    /// Something that nothing here depends on.
    Other,
}

/// What comes of a question to a provider.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, ProviderError>>;

/// Whoever moves money. Every `create_…` does its work once for each key, however often it is asked.
pub trait Provider: fmt::Debug + Send + Sync {
    fn name(&self) -> ProviderName;

    /// Whether it is more than pretended: who is paid needs a destination then, and gets whole cents.
    fn moves_money(&self) -> bool;

    fn create_payment<'a>(&'a self, order: &'a PaymentOrder) -> Asked<'a, Payment>;

    fn fetch_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment>;

    /// So that it can not be paid any more. One that is paid meanwhile is answered as it stands.
    fn cancel_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment>;

    fn create_transfer<'a>(&'a self, order: &'a TransferOrder) -> Asked<'a, Transfer>;

    /// The transfer that an earlier question may have made. A key is remembered for a day or so, and money that was sent
    /// is sent for ever: whoever asks again looks first.
    fn find_transfer<'a>(&'a self, order: &'a TransferOrder) -> Asked<'a, Option<Transfer>>;

    fn fetch_transfer<'a>(&'a self, name: &'a str) -> Asked<'a, Transfer>;

    fn fetch_dispute<'a>(&'a self, name: &'a str) -> Asked<'a, Dispute>;

    /// The newest ones, a hundred at most: for those of which no webhook has come.
    fn recent_disputes(&self) -> Asked<'_, Vec<Dispute>>;

    fn create_destination<'a>(&'a self, order: &'a DestinationOrder) -> Asked<'a, Destination>;

    fn fetch_destination<'a>(&'a self, name: &'a str) -> Asked<'a, Destination>;

    /// The page on which the owner of a destination tells the provider about himself; `None` when there is none.
    fn onboarding_page<'a>(&'a self, destination: &'a str) -> Asked<'a, Option<String>>;

    /// In which header a webhook is signed.
    fn signature_header(&self) -> &'static str;

    /// What a webhook is about, if it is the provider's.
    fn notice(
        &self,
        signature: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Notice, WebhookError>;
}
