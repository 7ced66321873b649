//! Payments that a customer's bank calls back, and those that an operator has paid back by hand. What is taken and given back is decided by [`rules::disputes`], from how the
//! dispute stands with the provider now; a webhook only says that it is time to look. What the account does not have any
//! more is the platform's loss, and after a chargeback the account is suspended until the dispute is won or somebody lifts it.

use std::time::Duration;

use ledger::{Movement, TransferKind};
use model::payment::{DisputeState, PurchaseState};
use payments::{Dispute as AtProvider, Provider};
use proto::MicroCredits;
use rules::disputes::{Step, Taking, disputed_credits, is_open, step, taking};
use serde_json::json;
use sqlx::PgConnection;

use super::purchases::{self, LEASE, PurchaseError};
use crate::accounts::decisions::{self, Decision};
use crate::accounts::tables::standing;
use crate::billing::tables::disputes::Dispute;
use crate::billing::tables::purchases::Purchase;
use crate::billing::{Billing, tables};
use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{balances, chart, posting};

/// How often one that is argued about is looked at without any word of it.
const AGAIN: Duration = Duration::from_secs(6 * 3600);

/// A webhook tells of a dispute.
pub async fn told(
    billing: &Billing,
    provider: &dyn Provider,
    dispute: &str,
    payment: &str,
) -> Result<(), PurchaseError> {
    if note(billing, provider, dispute, payment).await? {
        look(billing, provider, dispute).await?;
    }
    Ok(())
}

/// `false` when the payment is of nobody here.
async fn note(
    billing: &Billing,
    provider: &dyn Provider,
    dispute: &str,
    payment: &str,
) -> Result<bool, PurchaseError> {
    let mut connection = billing.db.acquire().await?;
    let own = provider.name().as_str();
    let found = tables::purchases::of_payment(&mut connection, own, payment, None).await?;
    let Some(purchase) = found else {
        tracing::warn!(
            dispute,
            payment,
            "a dispute about a payment that is not of here"
        );
        return Ok(false);
    };
    tables::disputes::note(&mut connection, own, dispute, purchase.id).await?;
    Ok(true)
}

/// Looks at one that is due; `false` when there is none.
pub async fn look_at_one(billing: &Billing) -> Result<bool, PurchaseError> {
    let Ok(provider) = billing.provider() else {
        return Ok(false);
    };
    let mut connection = billing.db.acquire().await?;
    let own = provider.name().as_str();
    let due = tables::disputes::take_due(&mut connection, own, LEASE).await?;
    drop(connection);
    match due {
        Some(dispute) => look(billing, provider, &dispute).await.map(|()| true),
        None => Ok(false),
    }
}

/// Notes those of which no webhook has come.
pub async fn look_for_unknown(billing: &Billing) -> anyhow::Result<()> {
    let Ok(provider) = billing.provider() else {
        return Ok(());
    };
    let own = provider.name().as_str();
    for dispute in provider.recent_disputes().await? {
        let mut connection = billing.db.acquire().await?;
        let is_known = tables::disputes::is_known(&mut connection, own, &dispute.name).await?;
        drop(connection);
        if let (false, Some(payment)) = (is_known, &dispute.payment) {
            note(billing, provider, &dispute.name, payment).await?;
        }
    }
    Ok(())
}

async fn look(
    billing: &Billing,
    provider: &dyn Provider,
    dispute: &str,
) -> Result<(), PurchaseError> {
    match provider.fetch_dispute(dispute).await {
        Ok(at_provider) => {
            if let Some(payment) = &at_provider.payment {
                // Its purchase has to be settled before it can be reversed.
                purchases::told(billing, provider, payment, None).await?;
            }
            apply(billing, provider, &at_provider).await
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(dispute, "a dispute waits for its provider: {error:#}");
            Ok(())
        }
    }
}

async fn apply(
    billing: &Billing,
    provider: &dyn Provider,
    at_provider: &AtProvider,
) -> Result<(), PurchaseError> {
    let own = provider.name().as_str();
    let mut transaction = billing.db.begin().await?;
    let noted = tables::disputes::by_name(&mut transaction, own, &at_provider.name).await?;
    let Some(noted) = noted else { return Ok(()) };
    let Some(purchase) = tables::purchases::lock(&mut transaction, noted.purchase).await? else {
        return Ok(());
    };
    // Under the purchase's lock, which whoever changes a dispute of it has.
    let noted = tables::disputes::by_name(&mut transaction, own, &at_provider.name).await?;
    let Some(mut dispute) = noted else {
        return Ok(());
    };
    if purchase.transfer_id.is_none() {
        return Ok(()); // not paid, as far as is known here: the job looks again
    }
    let standing = at_provider.standing;
    match step(dispute.state, standing) {
        Step::Take => {
            dispute.taken = take(billing, &mut transaction, &purchase, at_provider).await?;
            dispute.state = DisputeState::Taken;
        }
        Step::GiveBack => {
            give_back(billing, &mut transaction, &purchase, &dispute, at_provider).await?;
            dispute.state = DisputeState::GivenBack;
        }
        Step::Close => dispute.state = DisputeState::Closed,
        Step::Nothing => {}
    }
    let again = is_open(dispute.state, standing).then_some(AGAIN);
    let amount = at_provider.amount;
    tables::disputes::update(&mut transaction, own, &dispute, amount, again).await?;
    let taken = tables::disputes::taken_of(&mut transaction, purchase.id).await?;
    let state = match taken.is_positive() {
        true => PurchaseState::Reversed,
        false => PurchaseState::Paid,
    };
    tables::purchases::set_state(&mut transaction, purchase.id, state).await?;
    transaction.commit().await?;
    Ok(())
}

/// As it stands among the decisions about the account, and with it while that suspends it.
fn reason_of(dispute: &AtProvider) -> String {
    let what = if dispute.is_refund {
        "refund"
    } else {
        "chargeback"
    };
    format!("{what} {}", dispute.name)
}

async fn take(
    billing: &Billing,
    connection: &mut PgConnection,
    purchase: &Purchase,
    dispute: &AtProvider,
) -> Result<Taking, PurchaseError> {
    let before = tables::disputes::taken_of(connection, purchase.id).await?;
    let (bought, price) = (purchase.credited, purchase.amount);
    let credits = disputed_credits(bought, price, dispute.amount, before);
    let reason = reason_of(dispute);
    if !dispute.is_refund {
        standing::suspend(connection, purchase.user, &reason).await?; // before the accounts
    }
    let decision = Decision::new(purchase.user, decisions::PAYMENT_CALLED_BACK, &reason);
    decisions::note(connection, &billing.clock, &billing.entropy, &decision).await?;
    let available = balances::lock_user(connection, purchase.user)
        .await?
        .available;
    let taken = taking(credits, available);
    let kind = transfer_kind::PURCHASE_REVERSED;
    post(
        billing,
        connection,
        purchase,
        (kind, &dispute.name),
        taken,
        -1,
    )
    .await?;
    tracing::warn!(
        user_id = %purchase.user, purchase_id = %purchase.id, dispute = dispute.name, lost = %taken.from_losses,
        suspended = !dispute.is_refund, "a payment was called back, or paid back by hand: its credits are taken"
    );
    Ok(taken)
}

async fn give_back(
    billing: &Billing,
    connection: &mut PgConnection,
    purchase: &Purchase,
    dispute: &Dispute,
    at_provider: &AtProvider,
) -> Result<(), PurchaseError> {
    let reason = reason_of(at_provider);
    standing::unsuspend(connection, purchase.user, Some(&reason)).await?; // before the accounts
    let decision = Decision::new(purchase.user, decisions::PAYMENT_GIVEN_BACK, &reason);
    decisions::note(connection, &billing.clock, &billing.entropy, &decision).await?;
    let kind = transfer_kind::PURCHASE_RESTORED;
    post(
        billing,
        connection,
        purchase,
        (kind, &dispute.name),
        dispute.taken,
        1,
    )
    .await
}

/// `sign` is 1 where the account gains, and -1 where it loses.
async fn post(
    billing: &Billing,
    connection: &mut PgConnection,
    purchase: &Purchase,
    (kind, dispute): (TransferKind, &str),
    taken: Taking,
    sign: i64,
) -> Result<(), PurchaseError> {
    let signed = |amount: MicroCredits| MicroCredits::new(sign * amount.get());
    let of_account = signed(taken.from_account);
    let of_losses = signed(taken.from_losses);
    let movement = Movement {
        kind,
        key: format!("{}:{}:{dispute}", kind.name(), purchase.id),
        cause: &json!({"purchase_id": purchase.id, "dispute": dispute}),
        entries: &[
            (chart::available(purchase.user), of_account),
            (chart::LOSSES, of_losses),
            (
                chart::OUTSIDE,
                MicroCredits::new(-(of_account.get() + of_losses.get())),
            ),
        ],
    };
    posting::post(connection, &billing.entropy, movement).await?;
    Ok(())
}
