//! Logins whose password was right, and that wait for a code.

use std::fmt;
use std::time::Duration;

use model::ids::UserId;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use super::tables::second_factors as factors;
use super::{Accounts, secrets, tables};

/// A login waits this long.
const GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// Logins of one account that wait beside another one.
const OTHERS: i64 = 9;

/// What somebody has who may log in once he has shown a code.
pub struct Challenge {
    pub token: Zeroizing<String>,
    pub good_for: Duration,
}

/// Without the token.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Challenge({:?})", self.good_for)
    }
}

/// Whether the account is asked for a second factor beside the password.
pub async fn is_asked_for(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let app = factors::app(connection, user, Duration::ZERO).await?;
    if app.is_some_and(|app| app.confirmed_at.is_some()) {
        return Ok(true);
    }
    Ok(tables::passkeys::count(connection, user).await? > 0)
}

/// A login begins to wait.
pub(super) async fn begin(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Challenge> {
    let token = secrets::generate("fsnc", &mut accounts.entropy.rng());
    let bound = (GOOD_FOR, OTHERS);
    factors::challenge(connection, &secrets::hash(&token), user, bound).await?;
    Ok(Challenge {
        token,
        good_for: GOOD_FOR,
    })
}
