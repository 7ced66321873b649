//! What is decided about accounts, and why: kept for 400 days, in the transaction that does it.

use kit::{Clock, Entropy};
use sqlx::PgConnection;

use super::tables;
pub use super::tables::decisions::Decision;
use crate::security;
use crate::security::{Event, EventKind};

pub const SUSPENDED: &str = "suspended";
pub const UNSUSPENDED: &str = "unsuspended";
pub const CREDITED: &str = "credited";
pub const SESSIONS_ENDED: &str = "sessions_ended";
pub const PAYMENT_CALLED_BACK: &str = "payment_called_back";
pub const PAYMENT_GIVEN_BACK: &str = "payment_given_back";
pub const CLOSED: &str = "closed";
pub const SECOND_FACTOR_REMOVED: &str = "second_factor_removed";
pub const FILE_TAKEN_DOWN: &str = "file_taken_down";

/// A reason is demanded of whoever decides: 1 to 500 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 1 to 500 bytes: whoever looks later is to understand what happened")]
pub struct NoReason;

/// The reason without white space around it.
pub fn reason(text: &str) -> Result<&str, NoReason> {
    let text = text.trim();
    match text.len() {
        1..=500 if !text.contains('\0') => Ok(text),
        _ => Err(NoReason),
    }
}

/// Notes a decision in the caller's transaction.
pub async fn note(
    connection: &mut PgConnection,
    clock: &Clock,
    entropy: &Entropy,
    decision: &Decision<'_>,
) -> sqlx::Result<()> {
    let now = clock.now();
    tables::decisions::insert(connection, entropy.uuid_v7(now), decision, now).await?;
    let event = Event::done(EventKind::AccountDecision, decision.user).of(decision.what);
    security::record(connection, event).await
}
