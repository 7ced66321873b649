//! What storage costs and what nodes earn: credits, charges for files, settlement of days, payouts, and their verification.

use std::sync::Arc;

use kit::{Clock, Entropy};
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
    pub clock: Clock,
    pub entropy: Entropy,
}
