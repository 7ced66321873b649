//! Paying nodes out. The credits leave the node's account with the row that says so, before the provider is asked; it is
//! asked at once, and by a job until it has answered, under a key that it pays once. `paid` is what it has confirmed. What
//! it refuses, or what comes back, is the node's again.
//!
//! A provider remembers a key for a day or so, and money that was sent is sent for ever. So whoever asks a second time looks
//! first whether the transfer is there.

use crate::security;
use crate::security::{Event, EventKind, Outcome};
use std::time::Duration;

use ledger::{Movement, PostError, Posted};
use model::money::UsdCents;
use model::payment::{PayoutState, TransferStanding};
use payments::{Provider, ProviderError, Transfer, TransferOrder};
use proto::{MicroCredits, NodeId};
use rules::purchases::next_look;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::destinations::{self, DestinationError};
use super::purchases::LEASE;
use crate::accounts::tables::users;
pub use crate::billing::tables::payouts::Payout;
use crate::billing::{Billing, NoProvider, tables};
use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{balances, chart, posting};
use ledger::TransferId;
use model::ids::{UserId, uuid_v7};

#[derive(Debug, thiserror::Error)]
pub enum PayoutError {
    #[error(transparent)]
    NoProvider(#[from] NoProvider),
    #[error("the node has {available} credits available, not {asked}")]
    TooMuch {
        available: MicroCredits,
        asked: MicroCredits,
    },
    #[error("the node has nothing available to pay out")]
    Nothing,
    #[error("money is paid in whole cents, and a cent is {cent} credits")]
    NotWholeCents { cent: MicroCredits },
    #[error("there is nobody to pay: {0}")]
    NoDestination(&'static str),
    #[error("the account of the node's operator is suspended: {0}")]
    Suspended(String),
    #[error("the Idempotency-Key was used for another amount")]
    KeyReused,
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Pays `amount`, or all that is available, out. Repeated under the same key it answers with the same
/// payout.
pub async fn request(
    billing: &Billing,
    (node, operator): (NodeId, Option<UserId>),
    amount: Option<MicroCredits>,
    idempotency_key: Option<&str>,
) -> Result<Payout, PayoutError> {
    let provider = billing.provider()?;
    let id = uuid_v7(billing.clock.now(), &mut billing.entropy.rng());
    let key = idempotency_key.map_or_else(|| id.to_string(), str::to_owned);
    let mut connection = billing.db.acquire().await?;
    if let Some(earlier) = tables::payouts::by_key(&mut connection, node, &key).await? {
        return same(earlier, amount);
    }
    drop(connection);
    let destination = destination(billing, provider, operator).await?;
    let order = Order {
        id,
        node,
        amount,
        destination,
    };
    let payout = match note(billing, provider, order, &key).await? {
        Noted::Now(payout) => payout,
        Noted::Before(earlier) => return same(earlier, amount),
    };
    ask(billing, provider, &payout).await?;
    let mut connection = billing.db.acquire().await?;
    let told = tables::payouts::by_id(&mut connection, id).await?;
    Ok(told.unwrap_or(payout))
}

fn same(earlier: Payout, amount: Option<MicroCredits>) -> Result<Payout, PayoutError> {
    match amount {
        Some(amount) if amount != earlier.amount => Err(PayoutError::KeyReused),
        _ => Ok(earlier),
    }
}

/// Whom the provider is to pay, if it asks for that.
async fn destination(
    billing: &Billing,
    provider: &dyn Provider,
    operator: Option<UserId>,
) -> Result<Option<String>, PayoutError> {
    if let Some(operator) = operator {
        let mut connection = billing.db.acquire().await?;
        if let Some(reason) = users::suspended(&mut connection, operator).await? {
            return Err(PayoutError::Suspended(reason));
        }
    }
    if !provider.moves_money() {
        return Ok(None);
    }
    let nobody = "the node has no operator: register it with a token of an account";
    let operator = operator.ok_or(PayoutError::NoDestination(nobody))?;
    match destinations::get(billing, operator).await {
        Ok(known) if known.ready => Ok(known.account),
        Ok(_) => Err(PayoutError::NoDestination(
            "the provider wants to know more of the node's operator, PUT /api/v1/payout-destination says where",
        )),
        Err(DestinationError::None) => Err(PayoutError::NoDestination(
            "the node's operator sets one with PUT /api/v1/payout-destination",
        )),
        Err(error) => Err(error.into()),
    }
}

/// What somebody wants to be paid.
struct Order {
    id: Uuid,
    node: NodeId,
    amount: Option<MicroCredits>,
    destination: Option<String>,
}

enum Noted {
    Now(Payout),
    Before(Payout),
}

/// Takes the credits, and writes down that the provider is being asked.
async fn note(
    billing: &Billing,
    provider: &dyn Provider,
    order: Order,
    key: &str,
) -> Result<Noted, PayoutError> {
    let (id, node) = (order.id, order.node);
    let mut transaction = billing.db.begin().await?;
    // The account's lock makes requests of one node wait for each other.
    let available = balances::lock_node(&mut transaction, node).await?.available;
    if let Some(earlier) = tables::payouts::by_key(&mut transaction, node, key).await? {
        return Ok(Noted::Before(earlier));
    }
    let (amount, cents) = payable(billing, provider, order.amount, available)?;
    let movement = Movement {
        kind: transfer_kind::PAYOUT,
        key: format!("payout:{id}"),
        cause: &json!({"payout_id": id}),
        entries: &[
            (chart::node_available(node), -amount),
            (chart::OUTSIDE, amount),
        ],
    };
    let transfer_id: TransferId =
        match posting::post(&mut transaction, &billing.entropy, movement).await? {
            Some(Posted::New(id) | Posted::Before(id)) => id,
            None => return Err(PayoutError::Nothing),
        };
    let payout = Payout {
        id,
        node_id: node,
        amount,
        cents,
        transfer_id,
        state: PayoutState::Pending,
        provider: provider.name().to_string(),
        provider_key: format!("payout:{id}"),
        destination: order.destination,
        payment: None,
        reason: None,
        attempts: 1,
        created_at: billing.clock.now(),
    };
    tables::payouts::insert(&mut transaction, &payout, key, LEASE).await?;
    let subject = format!("payout {id} of node {node}");
    let event = Event {
        kind: EventKind::Payout,
        outcome: Outcome::Done,
        user: None,
        subject: Some(&subject),
    };
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(Noted::Now(payout))
}

/// What is paid, in credits and in money. Where money moves these are whole cents; what is asked for is paid as it is asked
/// for or not at all, and of all that is available the fraction of a cent stays.
fn payable(
    billing: &Billing,
    provider: &dyn Provider,
    asked: Option<MicroCredits>,
    available: MicroCredits,
) -> Result<(MicroCredits, UsdCents), PayoutError> {
    if let Some(asked) = asked.filter(|asked| *asked > available) {
        return Err(PayoutError::TooMuch { available, asked });
    }
    let per_usd = billing.money.credits_per_usd;
    let amount = asked.unwrap_or(available);
    if !amount.is_positive() {
        return Err(PayoutError::Nothing);
    }
    let cents = UsdCents::of_credits(amount, per_usd);
    if !provider.moves_money() {
        return Ok((amount, cents));
    }
    let credits = |cents: UsdCents| cents.to_credits(per_usd).map_err(|_| PayoutError::Nothing);
    let whole = credits(cents)?;
    if !whole.is_positive() || asked.is_some_and(|asked| asked != whole) {
        let cent = credits(UsdCents::new(1))?;
        return Err(PayoutError::NotWholeCents { cent });
    }
    Ok((whole, cents))
}

/// Asks the provider for one payout that is due; `false` when there is none.
pub async fn ask_one(billing: &Billing) -> Result<bool, PayoutError> {
    let Ok(provider) = billing.provider() else {
        return Ok(false);
    };
    let mut connection = billing.db.acquire().await?;
    let own = provider.name().as_str();
    let Some(id) = tables::payouts::take_due(&mut connection, own, LEASE).await? else {
        return Ok(false);
    };
    let payout = tables::payouts::by_id(&mut connection, id).await?;
    drop(connection);
    if let Some(payout) = payout {
        ask(billing, provider, &payout).await?;
    }
    Ok(true)
}

/// Asks for the transfer, or how it stands, and does what follows. A provider that is away leaves the payout pending.
async fn ask(
    billing: &Billing,
    provider: &dyn Provider,
    payout: &Payout,
) -> Result<(), PayoutError> {
    match transfer(provider, payout).await {
        Ok(transfer) => settle(billing, payout.id, &transfer).await,
        Err(ProviderError::Refused { reason }) => {
            tracing::warn!(payout_id = %payout.id, reason, "a payout was refused");
            refuse(billing, payout.id, &reason).await
        }
        Err(error) => {
            let reason = error.to_string();
            let error = anyhow::Error::new(error);
            tracing::warn!(payout_id = %payout.id, "a payout is not made yet, it is tried again: {error:#}");
            let mut connection = billing.db.acquire().await?;
            let after = next_look(age(billing, payout));
            tables::payouts::look_again(&mut connection, payout.id, None, Some(&reason), after)
                .await?;
            Ok(())
        }
    }
}

fn age(billing: &Billing, payout: &Payout) -> Duration {
    let age = billing.clock.now().duration_since(payout.created_at);
    Duration::try_from(age).unwrap_or_default()
}

async fn transfer(provider: &dyn Provider, payout: &Payout) -> Result<Transfer, ProviderError> {
    if let Some(name) = &payout.payment {
        return provider.fetch_transfer(name).await;
    }
    let order = TransferOrder {
        id: payout.id,
        key: payout.provider_key.clone(),
        amount: payout.cents,
        destination: payout.destination.clone(),
    };
    if payout.attempts > 1
        && let Some(made) = provider.find_transfer(&order).await?
    {
        return Ok(made);
    }
    provider.create_transfer(&order).await
}

/// Does what follows from how the transfer stands.
async fn settle(billing: &Billing, id: Uuid, transfer: &Transfer) -> Result<(), PayoutError> {
    let mut transaction = billing.db.begin().await?;
    let Some(payout) = tables::payouts::lock(&mut transaction, id).await? else {
        return Ok(());
    };
    if transfer.order != Some(id) || transfer.amount != payout.cents {
        tracing::error!(payout_id = %id, transfer = transfer.name, "a transfer is of another payout or amount");
        return Ok(());
    }
    let name = Some(transfer.name.as_str());
    match (payout.state, transfer.standing) {
        (PayoutState::Refused, TransferStanding::Returned)
        | (PayoutState::Paid, TransferStanding::Open | TransferStanding::Paid) => {}
        (PayoutState::Refused, _) => {
            tracing::error!(payout_id = %id, transfer = transfer.name, "what was given back was paid after all");
        }
        (PayoutState::Pending, TransferStanding::Open) => {
            let after = next_look(age(billing, &payout));
            tables::payouts::look_again(&mut transaction, id, name, None, after).await?;
        }
        (PayoutState::Pending, TransferStanding::Paid) => {
            tables::payouts::finish(&mut transaction, id, PayoutState::Paid, name, None).await?;
        }
        (PayoutState::Pending | PayoutState::Paid, TransferStanding::Returned) => {
            let reason = "the transfer came back";
            give_back(billing, &mut transaction, &payout, name, reason).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn refuse(billing: &Billing, id: Uuid, reason: &str) -> Result<(), PayoutError> {
    let mut transaction = billing.db.begin().await?;
    let payout = tables::payouts::lock(&mut transaction, id).await?;
    if let Some(payout) = payout.filter(|payout| payout.state == PayoutState::Pending) {
        give_back(billing, &mut transaction, &payout, None, reason).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn give_back(
    billing: &Billing,
    connection: &mut PgConnection,
    payout: &Payout,
    payment: Option<&str>,
    reason: &str,
) -> Result<(), PayoutError> {
    let id = payout.id;
    let movement = Movement {
        kind: transfer_kind::PAYOUT_REFUSED,
        key: format!("payout-refused:{id}"),
        cause: &json!({"payout_id": id, "reason": reason}),
        entries: &[
            (chart::OUTSIDE, -payout.amount),
            (chart::node_available(payout.node_id), payout.amount),
        ],
    };
    posting::post(connection, &billing.entropy, movement).await?;
    let refused = PayoutState::Refused;
    tables::payouts::finish(connection, id, refused, payment, Some(reason)).await?;
    Ok(())
}

/// Somebody who can sign for the provider says that something has happened to a transfer. An error is for the sender, who
/// tells it again.
pub(super) async fn told(
    billing: &Billing,
    provider: &dyn Provider,
    transfer: &str,
    carried: Option<Uuid>,
) -> Result<(), PayoutError> {
    let mut connection = billing.db.acquire().await?;
    let own = provider.name().as_str();
    let found = tables::payouts::of_transfer(&mut connection, own, transfer, carried).await?;
    let Some(payout) = found else {
        tracing::debug!(
            transfer,
            "a webhook tells of a transfer that is not of here"
        );
        return Ok(());
    };
    tables::payouts::look_again(&mut connection, payout.id, None, None, Duration::ZERO).await?;
    drop(connection);
    let transfer = provider.fetch_transfer(transfer).await?;
    settle(billing, payout.id, &transfer).await
}

/// A node's payouts, the newest first.
pub async fn list(
    billing: &Billing,
    node: NodeId,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Payout>> {
    let mut connection = billing.db.acquire().await?;
    tables::payouts::of_node(&mut connection, node, before, limit).await
}
