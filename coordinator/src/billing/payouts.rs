//! Paying nodes out. The credits leave the node's account with the request; the provider is told
//! afterwards, at once if possible and by a worker if not, under a reference that it pays once. What
//! it refuses comes back.

use crate::bookkeeping::{balances, posting};
use crate::security;
use crate::security::{Event, EventKind, Outcome};
use std::time::Duration;

use ledger::{Movement, PostError, Posted};
use proto::{MicroCredits, NodeId};
use serde_json::json;
use uuid::Uuid;

use crate::billing::{Billing, tables};

use crate::billing::tables::payouts::{Payout, PayoutState};
use crate::bookkeeping::chart;
use crate::bookkeeping::chart::transfer_kind;
use model::ids::uuid_v7;

/// How soon the provider is asked again when it did not answer.
const RETRY: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum PayoutError {
    #[error("the node has {available} credits available, not {asked}")]
    TooMuch {
        available: MicroCredits,
        asked: MicroCredits,
    },
    #[error("the node has nothing available to pay out")]
    Nothing,
    #[error("the Idempotency-Key was used for another amount")]
    KeyReused,
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Pays `amount`, or all that is available, out. Repeated under the same key it answers with the same
/// payout.
pub async fn request(
    billing: &Billing,
    node: NodeId,
    amount: Option<MicroCredits>,
    idempotency_key: Option<&str>,
) -> Result<Payout, PayoutError> {
    let id = uuid_v7(billing.clock.now(), &mut billing.entropy.rng());
    let key = idempotency_key.map_or_else(|| id.to_string(), str::to_owned);
    let mut transaction = billing.db.begin().await?;
    // The account's lock makes requests of one node wait for each other.
    let available = balances::lock_node(&mut transaction, node).await?.available;
    if let Some(earlier) = tables::payouts::by_key(&mut transaction, node, &key).await? {
        return match amount {
            Some(amount) if amount != earlier.amount => Err(PayoutError::KeyReused),
            _ => Ok(earlier),
        };
    }
    let amount = amount.unwrap_or(available);
    if !amount.is_positive() {
        return Err(PayoutError::Nothing);
    }
    if amount > available {
        let asked = amount;
        return Err(PayoutError::TooMuch { available, asked });
    }
    let movement = Movement {
        kind: transfer_kind::PAYOUT,
        key: format!("payout:{id}"),
        cause: &json!({"payout_id": id}),
        entries: &[
            (chart::node_available(node), -amount),
            (chart::OUTSIDE, amount),
        ],
    };
    let transfer_id = match posting::post(&mut transaction, &billing.entropy, movement).await? {
        Some(Posted::New(id) | Posted::Before(id)) => id,
        None => return Err(PayoutError::Nothing),
    };
    let payout = Payout {
        id,
        node_id: node,
        amount,
        transfer_id,
        state: PayoutState::Pending,
        payment: None,
    };
    tables::payouts::insert(&mut transaction, &payout, &key).await?;
    let subject = format!("payout {id} of node {node}");
    let event = Event {
        kind: EventKind::Payout,
        outcome: Outcome::Done,
        user: None,
        subject: Some(&subject),
    };
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    if let Err(error) = tell(billing, &payout).await {
        tracing::warn!(payout_id = %id, %error, "a payout is not made yet; it is tried again");
    }
    let mut connection = billing.db.acquire().await?;
    let told = tables::payouts::by_id(&mut connection, id).await?;
    Ok(told.unwrap_or(payout))
}

/// Tells the provider of one payout that it does not know of yet; `false` when there is none.
pub async fn tell_one(billing: &Billing) -> Result<bool, PayoutError> {
    let mut connection = billing.db.acquire().await?;
    let Some(payout) = tables::payouts::take_pending(&mut connection, RETRY).await? else {
        return Ok(false);
    };
    drop(connection);
    tell(billing, &payout).await?;
    Ok(true)
}

async fn tell(billing: &Billing, payout: &Payout) -> Result<(), PayoutError> {
    let reference = format!("payout:{}", payout.id);
    let outcome = billing
        .payments
        .pay_out(payout.node_id, payout.amount, &reference);
    let mut transaction = billing.db.begin().await?;
    let Some(pending) = tables::payouts::lock_pending(&mut transaction, payout.id).await? else {
        return Ok(()); // somebody else was told first
    };
    match outcome {
        Ok(payment) => {
            let state = PayoutState::Paid;
            tables::payouts::finish(&mut transaction, pending.id, state, &payment).await?;
        }
        Err(refused) => {
            give_back(billing, &mut transaction, &pending, &refused.0).await?;
            tracing::warn!(payout_id = %payout.id, %refused, "a payout was refused");
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn give_back(
    billing: &Billing,
    connection: &mut sqlx::PgConnection,
    payout: &Payout,
    reason: &str,
) -> Result<(), PayoutError> {
    let id: Uuid = payout.id;
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
    tables::payouts::finish(connection, id, PayoutState::Refused, reason).await?;
    Ok(())
}
