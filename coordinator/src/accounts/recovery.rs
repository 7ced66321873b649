//! Another password for who has forgotten his, and addresses that are shown to be one's own: both by a token that was sent
//! there. An administrator makes one for the password, too, where no mail is sent.

use std::net::IpAddr;
use std::time::Duration;

use kit::Entropy;
use model::ids::UserId;
use zeroize::Zeroizing;

use super::auth::AuthError;
use super::letters::Order;
use super::tables::tokens::{self, Purpose};
use super::{Accounts, secrets, sessions, tables};
use crate::database::Pool;
use crate::security;
use crate::security::{Event, EventKind};

/// How long an administrator's link is good.
pub const LINK_GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Sets the password of the account that the token is for, and ends all that the old one could do. A token is good once;
/// sent again with the same password, because the answer was lost, it is answered alike.
pub async fn reset_password(
    accounts: &Accounts,
    token: &str,
    new: Zeroizing<String>,
    address: IpAddr,
) -> Result<(), AuthError> {
    let (hash, purpose) = (secrets::hash(token), Purpose::ResetPassword);
    let stored = {
        let mut connection = accounts.db.acquire().await?;
        tokens::find(&mut connection, &hash, purpose).await?
    };
    let stored = stored.ok_or(AuthError::BadToken)?;
    let passwords = &accounts.passwords;
    if stored.used {
        let same = passwords
            .verify(new, Some(stored.password_hash), address)
            .await?;
        return same.then_some(()).ok_or(AuthError::BadToken);
    }
    let policy = accounts.password_policy();
    let password = passwords
        .hash_new(new, policy, accounts.known_of(&stored.email), address)
        .await?;
    let user = stored.user_id;
    let mut transaction = accounts.db.begin().await?;
    let by_mail = tokens::use_up(&mut transaction, &hash, purpose).await?;
    if by_mail.ok_or(AuthError::BadToken)? {
        tokens::mark_verified(&mut transaction, user).await?;
    }
    tokens::reset_password(&mut transaction, user, &password).await?;
    sessions::end_all(&mut transaction, user).await?;
    tables::second_factors::end_challenges_of(&mut transaction, user).await?;
    let event = Event::done(EventKind::PasswordReset, user);
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    accounts.known.changed(user);
    tracing::info!(user_id = %user, "a password was reset, and all logins of its account have ended");
    let _ = accounts.order_letter(Order::Changed(user, "The password")); // as good as it goes
    Ok(())
}

/// Shows that the account's owner reads what is sent to its address. May be repeated.
pub async fn verify_address(accounts: &Accounts, token: &str) -> Result<(), AuthError> {
    let (hash, purpose) = (secrets::hash(token), Purpose::VerifyAddress);
    let mut transaction = accounts.db.begin().await?;
    let stored = tokens::find(&mut transaction, &hash, purpose).await?;
    let stored = stored.ok_or(AuthError::BadToken)?;
    if !stored.used {
        tokens::use_up(&mut transaction, &hash, purpose).await?;
        tokens::mark_verified(&mut transaction, stored.user_id).await?;
        let event = Event::done(EventKind::AddressVerified, stored.user_id);
        security::record(&mut transaction, event).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Where files are taken from verified accounts only, whether this is one.
pub async fn demand_verified(accounts: &Accounts, user: UserId) -> Result<(), AuthError> {
    if !accounts.config.require_verified_address {
        return Ok(());
    }
    let mut connection = accounts.db.acquire().await?;
    match tokens::is_verified(&mut connection, user).await? {
        true => Ok(()),
        false => Err(AuthError::AddressNotVerified),
    }
}

/// A token of an administrator, for somebody whose address he has from elsewhere.
pub async fn reset_token(
    db: &Pool,
    entropy: &Entropy,
    user: UserId,
) -> sqlx::Result<Zeroizing<String>> {
    let token = secrets::generate("fsnl", &mut entropy.rng());
    let mut connection = db.acquire().await?;
    let (hash, bound) = (secrets::hash(&token), (LINK_GOOD_FOR, 0));
    tokens::insert(
        &mut connection,
        &hash,
        user,
        Purpose::ResetPassword,
        false,
        bound,
    )
    .await?;
    Ok(token)
}
