//! An account as its owner sees it.

use super::Accounts;
use super::tables::users;
use crate::bookkeeping::balances::{self, UserBalance};
use model::ids::UserId;
use model::user::User;

/// The account and what lies on it, if it exists.
pub async fn profile(
    accounts: &Accounts,
    user: UserId,
) -> sqlx::Result<Option<(User, UserBalance)>> {
    let mut connection = accounts.db.acquire().await?;
    let Some(user) = users::by_id(&mut connection, user).await? else {
        return Ok(None);
    };
    let balance = balances::of_user(&mut connection, user.id).await?;
    Ok(Some((user, balance)))
}
