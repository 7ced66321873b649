//! What storage costs and what nodes earn: purchases, charges for files, settlement of days, payouts, and their verification.

use std::sync::Arc;

use crate::database::Pool;
use jiff::Timestamp;
use kit::{Clock, Entropy};
use model::scheme::Scheme;
use model::terms::Terms;
use payments::Provider;
use rules::file_meter::Priced;

use self::metrics::BillingMetrics;
use crate::config::MoneyConfig;
use crate::keys::KeyRing;

pub mod charges;
pub mod destinations;
pub mod disputes;
pub mod earnings;
pub mod grants;
pub mod history;
pub mod jobs;
pub mod ledger_verify;
pub mod metrics;
pub mod payouts;
pub mod provider;
pub mod purchases;
pub mod settlement;
pub mod tables;
pub mod webhook;

/// What billing works with.
pub struct Billing {
    pub db: Pool,
    /// Signs the head of each day.
    pub keys: Arc<KeyRing>,
    pub money: MoneyConfig,
    /// `None` where no provider was chosen: nothing can be bought or paid out.
    pub payments: Option<Box<dyn Provider>>,
    pub metrics: BillingMetrics,
    /// From when on names and a least size are billed.
    pub terms_since: Timestamp,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// Nobody has chosen who moves the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this network has no payment provider: its operator has to set money.provider, to \"stripe\", or to \"mock\" where \
     no money is to move"
)]
pub struct NoProvider;

impl Billing {
    pub fn provider(&self) -> Result<&dyn Provider, NoProvider> {
        self.payments.as_deref().ok_or(NoProvider)
    }

    /// What a new file of this size is sold for, and under which terms.
    pub fn priced(&self, terms: Terms, size_bytes: u64, scheme: Scheme) -> Priced {
        self.offered(terms, size_bytes, scheme)
    }

    /// The least that a new file is sold for, whatever it is.
    pub fn least_priced(&self, scheme: Scheme) -> Priced {
        self.offered(Terms::from_name_bytes(Some(1)), 1, scheme)
    }

    fn offered(&self, of_new: Terms, size_bytes: u64, scheme: Scheme) -> Priced {
        let terms = match self.clock.now() >= self.terms_since {
            true => of_new,
            false => Terms::Content,
        };
        Priced {
            size_bytes,
            terms,
            scheme,
            price: self.money.price_per_gb_month,
        }
    }
}
