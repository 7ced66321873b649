//! What storage costs and what nodes earn: credits, charges for files, settlement of days, payouts, and their verification.

use std::sync::Arc;

use jiff::Timestamp;
use kit::{Clock, Entropy};
use model::scheme::Scheme;
use model::terms::Terms;
use rules::file_meter::Priced;
use sqlx::PgPool;

use self::credits::PaymentProvider;
use self::metrics::BillingMetrics;
use crate::config::MoneyConfig;
use crate::keys::KeyRing;

pub mod charges;
pub mod credits;
pub mod earnings;
pub mod jobs;
pub mod ledger_verify;
pub mod metrics;
pub mod payouts;
pub mod settlement;
pub mod tables;

/// What billing works with.
pub struct Billing {
    pub db: PgPool,
    /// Signs the head of each day.
    pub keys: Arc<KeyRing>,
    pub money: MoneyConfig,
    pub payments: Box<dyn PaymentProvider>,
    pub metrics: BillingMetrics,
    /// From when on names and a least size are billed.
    pub terms_since: Timestamp,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Billing {
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
