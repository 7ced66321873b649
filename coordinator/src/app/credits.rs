//! Buying credits. Payment goes through a provider behind a small trait; the one that is here takes
//! every payment, which is what a network without a payment contract runs with.

use proto::{MicroCredits, NodeId};
use serde_json::json;

use super::App;
use super::ledger::{self, Movement};
use crate::clock;
use crate::db;
use crate::db::ledger::{PostError, Posted};
use crate::domain::ids::{TransferId, UserId, uuid_v7};
use crate::domain::ledger::{Account, TransferKind};
use crate::domain::money::{AmountTooLarge, UsdCents};

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
    app: &App,
    user: UserId,
    amount: UsdCents,
    idempotency_key: Option<&str>,
) -> Result<Purchase, PurchaseError> {
    let credited = amount.to_credits(app.config.money.credits_per_usd)?;
    let mut connection = app.db.acquire().await?;
    let sold = -db::ledger::outside(&mut connection).await?;
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
            own_key = uuid_v7(clock::now(), &mut clock::rng()).to_string();
            &own_key
        }
    };
    let reference = format!("purchase:{user}:{key}");
    let payment = app.payments.charge(user, amount, &reference)?;
    let mut transaction = app.db.begin().await?;
    let movement = Movement {
        kind: TransferKind::Purchase,
        key: reference,
        cause: &json!({"amount_usd": amount.to_string(), "payment": payment}),
        entries: &[
            (Account::OUTSIDE, -credited),
            (Account::available(user), credited),
        ],
    };
    let transfer_id = match ledger::post(&mut transaction, movement).await? {
        Some(Posted::New(id)) => id,
        Some(Posted::Before(id)) => {
            let account = Account::available(user);
            if db::ledger::amount_on(&mut transaction, id, account).await? != credited {
                return Err(PurchaseError::KeyReused);
            }
            id
        }
        None => return Err(AmountTooLarge.into()), // no price of a credit makes a cent worth nothing
    };
    let balance = db::ledger::user_balance(&mut transaction, user).await?;
    transaction.commit().await?;
    Ok(Purchase {
        transfer_id,
        credited,
        available: balance.available,
    })
}
