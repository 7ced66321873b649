//! Credits that an administrator gives, and those that a closed account leaves behind. Both go through the ledger, under a
//! kind of their own, out of the network's income and into it.

use kit::{Clock, Entropy};
use ledger::{Movement, PostError, Posted, TransferId};
use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use crate::accounts::decisions::{self, Decision};
use crate::bookkeeping::chart;
use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::posting;
use crate::database::Pool;
use model::ids::UserId;

/// Nobody gives more at once: a million million credits are a typing error.
pub const MOST: MicroCredits = MicroCredits::new(1_000_000_000_000_000);

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("an amount of credits is more than 0 and at most {MOST}")]
    NotAnAmount,
    #[error("under this key another amount was given to the account")]
    KeyReused,
    #[error(transparent)]
    Ledger(#[from] PostError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Gives credits. Repeated under the same key, it answers the same and gives nothing more.
pub async fn grant(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    amount: MicroCredits,
    key: Option<&str>,
    reason: &str,
) -> Result<TransferId, GrantError> {
    if !amount.is_positive() || amount > MOST {
        return Err(GrantError::NotAnAmount);
    }
    let own_key = || entropy.uuid_v7(clock.now()).to_string();
    let key = key.map_or_else(own_key, str::to_owned);
    let mut transaction = db.begin().await?;
    let movement = Movement {
        kind: transfer_kind::GRANT,
        key: format!("grant:{user}:{key}"),
        cause: &json!({"reason": reason}),
        entries: &[(chart::INCOME, -amount), (chart::available(user), amount)],
    };
    let id = match posting::post(&mut transaction, entropy, movement).await? {
        Some(Posted::New(id)) => id,
        Some(Posted::Before(id)) => {
            let before = ledger::amount_on(&mut transaction, id, chart::available(user)).await?;
            return match before == amount {
                true => Ok(id),
                false => Err(GrantError::KeyReused),
            };
        }
        None => return Err(GrantError::NotAnAmount),
    };
    let decision = Decision {
        transfer: Some(id.as_uuid()),
        ..Decision::new(user, decisions::CREDITED, reason)
    };
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await?;
    Ok(id)
}

/// Takes all that a closed account still has, in the caller's transaction. Returns how much.
pub async fn forfeit(
    connection: &mut PgConnection,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
) -> Result<MicroCredits, GrantError> {
    let balances = ledger::lock_balances(connection, user.as_uuid()).await?;
    let left = balances.of(chart::available(user)).unwrap_or_default();
    if !left.is_positive() {
        return Ok(MicroCredits::ZERO);
    }
    let movement = Movement {
        kind: transfer_kind::FORFEIT,
        // An upload that was under way may come to its end after the first time.
        key: format!("forfeit:{user}:{}", entropy.uuid_v7(clock.now())),
        cause: &json!({"why": "the account was closed"}),
        entries: &[(chart::available(user), -left), (chart::INCOME, left)],
    };
    posting::post(connection, entropy, movement).await?;
    Ok(left)
}
