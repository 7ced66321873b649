//! Brings the addresses of accounts that older coordinators have opened into the one form of all their spellings.

use model::ids::UserId;
use model::names::Email;

use crate::accounts::{Accounts, tables};

/// Accounts that one transaction touches.
const BATCH: i64 = 1000;

/// All that there are. Before the first request: whoever registers an address that somebody has in another spelling is to
/// be told.
pub async fn form_all(accounts: &Accounts) -> sqlx::Result<()> {
    while form_some(accounts).await? {}
    Ok(())
}

/// `true` when there may be more.
pub(super) async fn form_some(accounts: &Accounts) -> sqlx::Result<bool> {
    let mut transaction = accounts.db.begin().await?;
    let formless = tables::users::without_form(&mut transaction, BATCH).await?;
    if formless.is_empty() {
        return Ok(false);
    }
    let found = formless.len();
    let forms: Vec<(UserId, String)> = formless
        .into_iter()
        .map(|(user, address)| match Email::try_from(address.clone()) {
            Ok(email) => (user, email.form()),
            Err(_) => (user, address), // was let in by another rule, and stays what it is
        })
        .collect();
    for user in tables::users::set_forms(&mut transaction, &forms).await? {
        tracing::warn!(
            user_id = %user,
            "an older account has the same address but for the case of its letters: this one can be logged in to \
             with exactly the spelling that it was opened with, and no other"
        );
    }
    transaction.commit().await?;
    Ok(found as i64 == BATCH)
}
