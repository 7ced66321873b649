//! Buying credits. Payment goes through a provider behind a small trait; the one that is here takes
//! every payment, which is what a network without a payment contract runs with.

use crate::bookkeeping::{balances, posting};
use ledger::{Movement, PostError, Posted};
use proto::{MicroCredits, NodeId};
use serde_json::json;
use sqlx::PgConnection;

use crate::accounts::tables::users;
use crate::billing::{Billing, tables};

use crate::bookkeeping::chart;
use crate::bookkeeping::chart::transfer_kind;
use crate::security;
use crate::security::{Event, EventKind};
use ledger::TransferId;
use model::ids::{UserId, uuid_v7};
use model::money::{AmountTooLarge, UsdCents};

/// Half of what an account can hold: purchases at the same moment, which the sealer has not added up
/// yet, stay within the other half.
const MOST_SOLD: MicroCredits = MicroCredits::new(i64::MAX / 2);

/// Whoever moves real money.
pub trait PaymentProvider: Send + Sync {
    /// Takes a payment; the same `reference` is charged once, however often it is asked for.
    /// Returns the provider's own name for the payment.
    fn charge(
        &self,
        user: UserId,
        amount: UsdCents,
        reference: &str,
    ) -> Result<String, PaymentRefused>;

    /// Pays a node; the same `reference` is paid once, however often it is asked for.
    fn pay_out(
        &self,
        node: NodeId,
        amount: MicroCredits,
        reference: &str,
    ) -> Result<String, PaymentRefused>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the payment was refused: {0}")]
pub struct PaymentRefused(pub String);

/// Accepts every payment and moves no money.
#[derive(Debug, Clone, Copy, Default)]
pub struct MockPaymentProvider;

impl PaymentProvider for MockPaymentProvider {
    fn charge(
        &self,
        _user: UserId,
        _amount: UsdCents,
        reference: &str,
    ) -> Result<String, PaymentRefused> {
        Ok(format!("mock:{reference}"))
    }

    fn pay_out(
        &self,
        _node: NodeId,
        _amount: MicroCredits,
        reference: &str,
    ) -> Result<String, PaymentRefused> {
        Ok(format!("mock:{reference}"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PurchaseError {
    #[error("the Idempotency-Key was used for another amount")]
    KeyReused,
    #[error("an account may buy {limit} times on one day")]
    TooOften { limit: u32 },
    #[error("the network has sold all the credits that it can account for")]
    SoldOut,
    #[error(transparent)]
    Refused(#[from] PaymentRefused),
    #[error(transparent)]
    TooLarge(#[from] AmountTooLarge),
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

#[derive(Debug, Clone, Copy)]
pub struct Purchase {
    pub transfer_id: TransferId,
    pub credited: MicroCredits,
    pub available: MicroCredits,
}

/// Charges the user and credits the account. Repeated under the same key, it answers the same and
/// charges nothing.
pub async fn purchase(
    billing: &Billing,
    user: UserId,
    amount: UsdCents,
    idempotency_key: Option<&str>,
) -> Result<Purchase, PurchaseError> {
    let credited = amount.to_credits(billing.money.credits_per_usd)?;
    let mut connection = billing.db.acquire().await?;
    let sold = -ledger::balance(&mut connection, chart::OUTSIDE).await?;
    drop(connection);
    if sold
        .checked_add(credited)
        .is_none_or(|sold| sold > MOST_SOLD)
    {
        return Err(PurchaseError::SoldOut);
    }
    let own_key;
    let key = match idempotency_key {
        Some(key) => key,
        None => {
            own_key = uuid_v7(billing.clock.now(), &mut billing.entropy.rng()).to_string();
            &own_key
        }
    };
    let reference = format!("purchase:{user}:{key}");
    let payment = billing.payments.charge(user, amount, &reference)?;
    let mut transaction = billing.db.begin().await?;
    users::mark_bought(&mut transaction, user).await?; // before the accounts
    let movement = Movement {
        kind: transfer_kind::PURCHASE,
        key: reference,
        cause: &json!({"amount_usd": amount.to_string(), "payment": payment}),
        entries: &[
            (chart::OUTSIDE, -credited),
            (chart::available(user), credited),
        ],
    };
    let transfer_id = match posting::post(&mut transaction, &billing.entropy, movement).await? {
        Some(Posted::New(id)) => {
            let limit = billing.money.purchases_per_day;
            if tables::purchases::count(&mut transaction, user).await? > limit {
                return Err(PurchaseError::TooOften { limit });
            }
            let bought = id.as_uuid().to_string();
            let event = Event::done(EventKind::Purchase, user).of(&bought);
            security::record(&mut transaction, event).await?;
            id
        }
        Some(Posted::Before(id)) => {
            let account = chart::available(user);
            if ledger::amount_on(&mut transaction, id, account).await? != credited {
                return Err(PurchaseError::KeyReused);
            }
            id
        }
        None => return Err(AmountTooLarge.into()), // no price of a credit makes a cent worth nothing
    };
    let balance = balances::of_user(&mut transaction, user).await?;
    transaction.commit().await?;
    Ok(Purchase {
        transfer_id,
        credited,
        available: balance.available,
    })
}

/// Whether the account has ever bought. Purchases from before accounts remembered that are looked up in the ledger, once.
pub async fn has_bought(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    if users::has_bought(connection, user).await? != Some(false) {
        return Ok(true);
    }
    let account = chart::available(user);
    let bought = ledger::has_transfer(connection, account, transfer_kind::PURCHASE).await?;
    if bought {
        users::mark_bought(connection, user).await?;
    }
    Ok(bought)
}
