//! Buying credits. A purchase is written down before the provider is asked, and its credits are posted when the provider
//! says that it is paid: to the client's own request, to a webhook that told us to look, or to the job that looks by
//! itself. All three go through `look` and `settle`, so that it does not matter which comes when and how often.
//!
//! Locks, in this order: the purchase's row, the user's, the accounts. None is held while the provider is asked.

use std::time::Duration;

use ledger::{Movement, PostError, Posted};
use model::money::{AmountTooLarge, UsdCents};
use model::payment::{PaymentStanding, PurchaseState};
use payments::{ClientSecret, Payment, PaymentOrder, Provider, ProviderError};
use proto::MicroCredits;
use rules::purchases::{Settlement, next_look, settlement};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accounts::tables::users;
use crate::billing::tables::purchases::{NewPurchase, Purchase};
use crate::billing::{Billing, NoProvider, tables};
use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{balances, chart, posting};
use crate::security::{self, Event, EventKind};
use ledger::TransferId;
use model::ids::{UserId, uuid_v7};

/// Half of what an account can hold: purchases at the same moment, which the sealer has not added up
/// yet, stay within the other half.
const MOST_SOLD: MicroCredits = MicroCredits::new(i64::MAX / 2);

/// For how long whoever asks the provider is left alone with a purchase: longer than any question takes.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// What the ledger posts a purchase under.
fn ledger_key(user: UserId, idempotency_key: &str) -> String {
    format!("purchase:{user}:{idempotency_key}")
}

#[derive(Debug, thiserror::Error)]
pub enum PurchaseError {
    #[error(transparent)]
    NoProvider(#[from] NoProvider),
    #[error("the Idempotency-Key was used for another amount")]
    KeyReused,
    #[error("an account may buy {limit} times on one day")]
    TooOften { limit: u32 },
    #[error("an account may have {limit} purchases that are not paid yet")]
    TooManyOpen { limit: u32 },
    #[error("a purchase may be of at most {limit} USD")]
    TooMuch { limit: u32 },
    #[error("the account is suspended: {0}")]
    Suspended(String),
    #[error("the network has sold all the credits that it can account for")]
    SoldOut,
    #[error("the payment was refused: {0}")]
    Refused(String),
    #[error(transparent)]
    TooLarge(#[from] AmountTooLarge),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A purchase as its buyer sees it.
#[derive(Debug, Clone)]
pub struct Bought {
    /// `None` of one that a release made which did not write them down.
    pub purchase_id: Option<Uuid>,
    pub state: PurchaseState,
    pub credited: MicroCredits,
    pub available: MicroCredits,
    pub transfer_id: Option<TransferId>,
    pub reason: Option<String>,
    /// With which the customer pays, while it is open.
    pub client_secret: Option<ClientSecret>,
}

/// Orders credits, and credits them if they are paid already. Repeated under the same key, it answers how the same
/// purchase stands now, and charges nothing.
pub async fn purchase(
    billing: &Billing,
    user: UserId,
    amount: UsdCents,
    idempotency_key: Option<&str>,
) -> Result<Bought, PurchaseError> {
    let provider = billing.provider()?;
    let id = uuid_v7(billing.clock.now(), &mut billing.entropy.rng());
    let key = idempotency_key.map_or_else(|| id.to_string(), str::to_owned);
    let (id, asked) = match note(billing, provider, user, amount, (id, &key)).await? {
        Noted::Here(purchase) if purchase.state == PurchaseState::Pending => {
            (purchase.id, Some(look(billing, provider, &purchase).await?))
        }
        Noted::Here(purchase) => (purchase.id, None),
        Noted::InLedger(transfer, credited) => {
            return in_ledger(billing, user, transfer, credited).await;
        }
    };
    let mut connection = billing.db.acquire().await?;
    let purchase = tables::purchases::by_id(&mut connection, id).await?;
    let purchase = purchase.ok_or(sqlx::Error::RowNotFound)?;
    if purchase.state == PurchaseState::Failed {
        let reason = purchase.reason.unwrap_or_default();
        return Err(PurchaseError::Refused(reason));
    }
    bought(&mut connection, purchase, asked.flatten()).await
}

/// How one of the user's purchases stands; an open one is looked at with the provider. `None` when it is not the user's.
pub async fn one(
    billing: &Billing,
    user: UserId,
    id: Uuid,
) -> Result<Option<Bought>, PurchaseError> {
    let mut connection = billing.db.acquire().await?;
    let own = |purchase: &Purchase| purchase.user == user;
    let purchase = tables::purchases::by_id(&mut connection, id).await?;
    let Some(purchase) = purchase.filter(own) else {
        return Ok(None);
    };
    drop(connection);
    let asked = match (billing.provider(), purchase.state) {
        (Ok(provider), PurchaseState::Pending) => look(billing, provider, &purchase).await?,
        _ => None,
    };
    let mut connection = billing.db.acquire().await?;
    let purchase = tables::purchases::by_id(&mut connection, id).await?;
    let purchase = purchase.ok_or(sqlx::Error::RowNotFound)?;
    bought(&mut connection, purchase, asked).await.map(Some)
}

async fn bought(
    connection: &mut PgConnection,
    purchase: Purchase,
    asked: Option<Payment>,
) -> Result<Bought, PurchaseError> {
    let balance = balances::of_user(connection, purchase.user).await?;
    let is_open = purchase.state == PurchaseState::Pending;
    Ok(Bought {
        purchase_id: Some(purchase.id),
        state: purchase.state,
        credited: purchase.credited,
        available: balance.available,
        transfer_id: purchase.transfer_id,
        reason: purchase.reason,
        client_secret: asked
            .and_then(|payment| payment.client_secret)
            .filter(|_| is_open),
    })
}

/// Of a release that did not write purchases down: it stands in the ledger alone.
async fn in_ledger(
    billing: &Billing,
    user: UserId,
    transfer: TransferId,
    credited: MicroCredits,
) -> Result<Bought, PurchaseError> {
    let mut connection = billing.db.acquire().await?;
    let account = chart::available(user);
    if ledger::amount_on(&mut connection, transfer, account).await? != credited {
        return Err(PurchaseError::KeyReused);
    }
    let balance = balances::of_user(&mut connection, user).await?;
    Ok(Bought {
        purchase_id: None,
        state: PurchaseState::Paid,
        credited,
        available: balance.available,
        transfer_id: Some(transfer),
        reason: None,
        client_secret: None,
    })
}

enum Noted {
    Here(Purchase),
    InLedger(TransferId, MicroCredits),
}

/// Writes the purchase down, unless it is there. Those of one account wait for each other here.
async fn note(
    billing: &Billing,
    provider: &dyn Provider,
    user: UserId,
    amount: UsdCents,
    (id, key): (Uuid, &str),
) -> Result<Noted, PurchaseError> {
    let credited = amount.to_credits(billing.money.credits_per_usd)?;
    let mut transaction = billing.db.begin().await?;
    let today = tables::purchases::count(&mut transaction, user).await?;
    if let Some(earlier) = tables::purchases::by_key(&mut transaction, user, key).await? {
        return match earlier.amount == amount {
            true => Ok(Noted::Here(earlier)),
            false => Err(PurchaseError::KeyReused),
        };
    }
    if let Some(earlier) = ledger::posted(&mut transaction, &ledger_key(user, key)).await? {
        return Ok(Noted::InLedger(earlier, credited));
    }
    let limit = billing.money.purchase_max_usd;
    if amount.get() > u64::from(limit) * 100 {
        return Err(PurchaseError::TooMuch { limit });
    }
    if let Some(reason) = users::suspended(&mut transaction, user).await? {
        return Err(PurchaseError::Suspended(reason));
    }
    let limit = billing.money.purchases_per_day;
    if today > limit {
        return Err(PurchaseError::TooOften { limit });
    }
    let limit = billing.money.open_purchases;
    if tables::purchases::open_of(&mut transaction, user).await? >= limit {
        return Err(PurchaseError::TooManyOpen { limit });
    }
    let sold = -ledger::balance(&mut transaction, chart::OUTSIDE).await?;
    if sold
        .checked_add(credited)
        .is_none_or(|sold| sold > MOST_SOLD)
    {
        return Err(PurchaseError::SoldOut);
    }
    let new = NewPurchase {
        id,
        user,
        idempotency_key: key,
        provider: provider.name().as_str(),
        provider_key: &format!("purchase:{id}"),
        amount,
        credited,
    };
    tables::purchases::insert(&mut transaction, &new, LEASE).await?;
    let purchase = tables::purchases::by_id(&mut transaction, id).await?;
    transaction.commit().await?;
    let purchase = purchase.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Noted::Here(purchase))
}

/// Asks the provider for a purchase that has not settled, and does what follows from the answer. A provider that is away
/// leaves it as it is: `None`.
pub(super) async fn look(
    billing: &Billing,
    provider: &dyn Provider,
    purchase: &Purchase,
) -> Result<Option<Payment>, PurchaseError> {
    if purchase.provider != provider.name().as_str() {
        return Ok(None); // of one that was set before: nobody can ask it any more
    }
    let is_late = purchase.age > billing.money.purchase_ttl;
    let asked = match (&purchase.payment, is_late) {
        (Some(name), false) => provider.fetch_payment(name).await,
        (Some(name), true) => provider.cancel_payment(name).await,
        (None, false) => {
            let order = PaymentOrder {
                id: purchase.id,
                key: purchase.provider_key.clone(),
                amount: purchase.amount,
            };
            provider.create_payment(&order).await
        }
        // Whoever never got an answer has nothing to pay with, either.
        (None, true) => Err(ProviderError::Refused {
            reason: "the payment provider did not answer in time".to_owned(),
        }),
    };
    match asked {
        Ok(payment) => {
            settle(billing, purchase.id, &payment).await?;
            Ok(Some(payment))
        }
        Err(ProviderError::Refused { reason }) => {
            fail(billing, purchase.id, &reason).await?;
            Ok(None)
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(purchase_id = %purchase.id, "a purchase waits for its provider: {error:#}");
            Ok(None)
        }
    }
}

/// Does what follows from how the payment stands.
pub(super) async fn settle(
    billing: &Billing,
    id: Uuid,
    payment: &Payment,
) -> Result<(), PurchaseError> {
    let mut transaction = billing.db.begin().await?;
    let Some(purchase) = tables::purchases::lock(&mut transaction, id).await? else {
        return Ok(());
    };
    if payment.order != Some(id) {
        tracing::error!(purchase_id = %id, payment = payment.name, "a payment carries another purchase");
        return Ok(());
    }
    let (name, received) = (payment.name.as_str(), payment.received);
    match settlement(purchase.state, purchase.amount, payment.standing, received) {
        Settlement::Credit => credit(billing, &mut transaction, &purchase, name).await?,
        Settlement::Fail => {
            let reason = payment.reason.as_deref().unwrap_or("it was called off");
            tables::purchases::fail(&mut transaction, id, Some(name), reason).await?;
        }
        Settlement::OtherAmount => {
            let reason = format!("{received} USD arrived in place of {}", purchase.amount);
            tracing::error!(purchase_id = %id, payment = name, "no credits are given: {reason}");
            tables::purchases::fail(&mut transaction, id, Some(name), &reason).await?;
        }
        Settlement::Wait => {
            let after = next_look(purchase.age);
            tables::purchases::look_again(&mut transaction, id, Some(name), after).await?;
        }
        Settlement::Nothing => {
            let other = purchase.payment.as_deref().filter(|own| *own != name);
            if let (Some(own), PaymentStanding::Paid) = (other, payment.standing) {
                tracing::error!(purchase_id = %id, own, payment = name, "a purchase was paid twice: return one");
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn credit(
    billing: &Billing,
    connection: &mut PgConnection,
    purchase: &Purchase,
    payment: &str,
) -> Result<(), PurchaseError> {
    let (user, credited) = (purchase.user, purchase.credited);
    users::mark_bought(connection, user).await?; // before the accounts
    let movement = Movement {
        kind: transfer_kind::PURCHASE,
        key: ledger_key(user, &purchase.idempotency_key),
        cause: &json!({"amount_usd": purchase.amount.to_string(), "payment": payment, "purchase_id": purchase.id}),
        entries: &[
            (chart::OUTSIDE, -credited),
            (chart::available(user), credited),
        ],
    };
    match posting::post(connection, &billing.entropy, movement).await? {
        Some(Posted::New(id) | Posted::Before(id)) => {
            tables::purchases::pay(connection, purchase.id, payment, id).await?;
            let bought = purchase.id.to_string();
            let event = Event::done(EventKind::Purchase, user).of(&bought);
            security::record(connection, event).await?;
            Ok(())
        }
        None => Err(AmountTooLarge.into()), // no price of a credit makes a cent worth nothing
    }
}

async fn fail(billing: &Billing, id: Uuid, reason: &str) -> Result<(), PurchaseError> {
    let mut transaction = billing.db.begin().await?;
    let purchase = tables::purchases::lock(&mut transaction, id).await?;
    if purchase.is_some_and(|purchase| purchase.state == PurchaseState::Pending) {
        tables::purchases::fail(&mut transaction, id, None, reason).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Looks at one purchase that is due; `false` when there is none.
pub async fn look_at_one(billing: &Billing) -> Result<bool, PurchaseError> {
    let Ok(provider) = billing.provider() else {
        return Ok(false);
    };
    let mut connection = billing.db.acquire().await?;
    let name = provider.name().as_str();
    let Some(id) = tables::purchases::take_due(&mut connection, name, LEASE).await? else {
        return Ok(false);
    };
    let purchase = tables::purchases::by_id(&mut connection, id).await?;
    drop(connection);
    if let Some(purchase) = purchase {
        look(billing, provider, &purchase).await?;
    }
    Ok(true)
}

/// Somebody who can sign for the provider says that something has happened to a payment. It is looked at now; where that
/// cannot be done, the error is for the sender, who tells it again, and a pending one is the job's, too.
pub async fn told(
    billing: &Billing,
    provider: &dyn Provider,
    payment: &str,
    carried: Option<Uuid>,
) -> Result<(), PurchaseError> {
    let mut connection = billing.db.acquire().await?;
    let own = provider.name().as_str();
    let found = tables::purchases::of_payment(&mut connection, own, payment, carried).await?;
    let Some(purchase) = found else {
        tracing::debug!(payment, "a webhook tells of a payment that is not of here");
        return Ok(());
    };
    if purchase.state == PurchaseState::Pending {
        tables::purchases::look_again(&mut connection, purchase.id, None, Duration::ZERO).await?;
    }
    drop(connection);
    let payment = provider.fetch_payment(payment).await?;
    settle(billing, purchase.id, &payment).await
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
