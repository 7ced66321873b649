//! Accounts: register, log in, renew, log out.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::access_tokens::{Identity, SigningError};
use crate::accounts::passwords::PasswordError;
use crate::accounts::tables::refresh_tokens::StoredToken;
use crate::accounts::{Accounts, access_tokens, secrets, tables};

use crate::bookkeeping::chart;
use model::ids::{UserId, uuid_v7};
use model::names::Email;
use model::node_state::NetworkPrefix;

/// How long the answer to an exchange of a refresh token can be had again.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the address is taken")]
    AddressTaken,
    #[error("{limit} accounts have been opened from this network today")]
    TooManyAccounts { limit: u32 },
    /// Says the same whether the address exists or not.
    #[error("the address or the password is wrong")]
    WrongCredentials,
    #[error("the refresh token is not valid")]
    BadRefreshToken,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a client gets to act with.
#[derive(Debug)]
pub struct TokenPair {
    pub access_token: String,
    pub expires_in_seconds: u64,
    pub refresh_token: Zeroizing<String>,
}

/// Opens an account. Those that come after `money.trial_accounts_per_network` others from the same network
/// on the same day have to buy before they can store: a trial for everybody is no trial for one person
/// with a thousand accounts.
pub async fn register(
    accounts: &Accounts,
    email: &Email,
    password: Zeroizing<String>,
    address: IpAddr,
) -> Result<UserId, AuthError> {
    let hash = accounts.passwords.hash(password, address).await?;
    let id = UserId::from_uuid(uuid_v7(accounts.clock.now(), &mut accounts.entropy.rng()));
    let mut transaction = accounts.db.begin().await?;
    if !tables::users::insert(&mut transaction, id, email, &hash).await? {
        return Err(AuthError::AddressTaken);
    }
    ledger::open_accounts(&mut transaction, id.as_uuid(), &chart::OF_USERS).await?;
    // Last: accounts from one network wait for each other from here on.
    if let Some(network) = NetworkPrefix::of(address) {
        let registered = tables::users::count_registration(&mut transaction, network).await?;
        let limit = accounts.config.accounts_per_network;
        if registered > limit {
            return Err(AuthError::TooManyAccounts { limit });
        }
        if registered > accounts.trial_accounts_per_network {
            tables::users::deny_trial(&mut transaction, id).await?;
        }
    }
    transaction.commit().await?;
    Ok(id)
}

/// A new login. An account that has `auth.logins_per_account` loses the one that was used least lately.
pub async fn login(
    accounts: &Accounts,
    email: &str,
    password: Zeroizing<String>,
    address: IpAddr,
) -> Result<TokenPair, AuthError> {
    // What cannot be an address, a NUL in it above all, is not worth asking the database for.
    let known = match Email::try_from(email.to_owned()) {
        Ok(email) => {
            let mut connection = accounts.db.acquire().await?;
            tables::users::credentials(&mut connection, &email).await?
        }
        Err(_) => None,
    };
    let hash = known.as_ref().map(|(_, _, hash)| hash.clone());
    let matches = accounts.passwords.verify(password, hash, address).await?;
    let Some((user_id, role, _)) = known.filter(|_| matches) else {
        return Err(AuthError::WrongCredentials);
    };
    let mut transaction = accounts.db.begin().await?;
    let others = accounts.config.logins_per_account.saturating_sub(1);
    let token = begin_login(accounts, &mut transaction, user_id, others).await?;
    transaction.commit().await?;
    pair(accounts, Identity { user_id, role }, token)
}

/// Sets another password and ends every login but the one that is answered: whoever knew the old one is out.
pub async fn change_password(
    accounts: &Accounts,
    user_id: UserId,
    current: Zeroizing<String>,
    new: Zeroizing<String>,
    address: IpAddr,
) -> Result<TokenPair, AuthError> {
    let known = {
        let mut connection = accounts.db.acquire().await?;
        tables::users::password_of(&mut connection, user_id).await?
    };
    let (role, old_hash) = known.ok_or(AuthError::WrongCredentials)?;
    let passwords = &accounts.passwords;
    if !passwords
        .verify(current, Some(old_hash.clone()), address)
        .await?
    {
        return Err(AuthError::WrongCredentials);
    }
    let hash = passwords.hash(new, address).await?;
    let mut transaction = accounts.db.begin().await?;
    let token = begin_login(accounts, &mut transaction, user_id, 0).await?;
    // Of two who change it at once, one has checked a password that is no longer it.
    if !tables::users::set_password(&mut transaction, user_id, &old_hash, &hash).await? {
        return Err(AuthError::WrongCredentials);
    }
    transaction.commit().await?;
    tracing::info!(%user_id, "a password was changed, and all logins of its account have ended");
    pair(accounts, Identity { user_id, role }, token)
}

/// A login beside so many others of this user.
async fn begin_login(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
    others: u32,
) -> sqlx::Result<Zeroizing<String>> {
    let mut rng = accounts.entropy.rng();
    let login = uuid_v7(accounts.clock.now(), &mut rng);
    let token = secrets::first_refresh_token(login, &mut rng);
    tables::refresh_tokens::keep_latest(connection, user, others).await?;
    keep(accounts, connection, user, login, &token).await?;
    Ok(token)
}

/// Exchanges a refresh token for a new pair. Within `GRACE` the same token gives the same one again, unless that has
/// been used by then: the answer may have been lost. Otherwise a token that was used before was stolen, or its answer
/// was: the whole login ends.
pub async fn refresh(accounts: &Accounts, token: &str) -> Result<TokenPair, AuthError> {
    let hash = secrets::hash(token);
    let mut transaction = accounts.db.begin().await?;
    let stored = tables::refresh_tokens::lock(&mut transaction, &hash).await?;
    let Some(stored) = stored else {
        // A used one that is not kept any more names its login, and ends it.
        if let Some(login) = secrets::login_of(token) {
            tables::refresh_tokens::lock_family(&mut transaction, login).await?;
            if tables::refresh_tokens::revoke_family(&mut transaction, login).await? > 0 {
                tracing::warn!(
                    "a refresh token came back long after it was used: its login is ended"
                );
            }
            transaction.commit().await?;
        }
        return Err(AuthError::BadRefreshToken);
    };
    tables::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
    let next = if stored.used {
        match answered_before(accounts, &mut transaction, &stored, token).await? {
            Some(next) => next,
            None => {
                tracing::warn!(user_id = %stored.user_id, "a refresh token came back: its login is ended");
                tables::refresh_tokens::revoke_family(&mut transaction, stored.family).await?;
                transaction.commit().await?;
                return Err(AuthError::BadRefreshToken);
            }
        }
    } else if stored.expired {
        return Err(AuthError::BadRefreshToken);
    } else {
        let (_, key) = accounts.keys.token();
        let next = secrets::next_refresh_token(&key, stored.family, token);
        tables::refresh_tokens::mark_used(&mut transaction, &hash).await?;
        tables::refresh_tokens::forget_used(&mut transaction, stored.family, &hash).await?;
        keep(
            accounts,
            &mut transaction,
            stored.user_id,
            stored.family,
            &next,
        )
        .await?;
        next
    };
    transaction.commit().await?;
    let identity = Identity {
        user_id: stored.user_id,
        role: stored.role,
    };
    pair(accounts, identity, next)
}

/// What this token was exchanged for a moment ago, if that has not been used. The key may have been rotated since.
async fn answered_before(
    accounts: &Accounts,
    connection: &mut PgConnection,
    stored: &StoredToken,
    token: &str,
) -> sqlx::Result<Option<Zeroizing<String>>> {
    if !stored.used_within(GRACE) {
        return Ok(None);
    }
    for key in accounts.keys.token_keys() {
        let next = secrets::next_refresh_token(&key, stored.family, token);
        let found = tables::refresh_tokens::lock(connection, &secrets::hash(&next)).await?;
        if let Some(found) = found {
            return Ok((!found.used && !found.expired).then_some(next));
        }
    }
    Ok(None)
}

/// Ends the login that a refresh token belongs to; harmless when it is not known.
pub async fn logout(accounts: &Accounts, token: &str) -> Result<(), AuthError> {
    let mut transaction = accounts.db.begin().await?;
    let stored = tables::refresh_tokens::lock(&mut transaction, &secrets::hash(token)).await?;
    let login = stored.map(|stored| stored.family);
    if let Some(login) = login.or_else(|| secrets::login_of(token)) {
        tables::refresh_tokens::lock_family(&mut transaction, login).await?;
        tables::refresh_tokens::revoke_family(&mut transaction, login).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn keep(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
    login: Uuid,
    token: &str,
) -> sqlx::Result<()> {
    let ttl = accounts.config.refresh_token_ttl;
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    let expires_at = accounts.clock.now().saturating_add(ttl);
    let expires_at = expires_at.unwrap_or(Timestamp::MAX);
    let hash = secrets::hash(token);
    tables::refresh_tokens::insert(connection, &hash, login, user, expires_at).await
}

fn pair(
    accounts: &Accounts,
    identity: Identity,
    refresh_token: Zeroizing<String>,
) -> Result<TokenPair, AuthError> {
    let (now, ttl) = (accounts.clock.now(), accounts.config.access_token_ttl);
    Ok(TokenPair {
        access_token: access_tokens::issue(&accounts.keys, identity, now, ttl)?,
        expires_in_seconds: ttl.as_secs(),
        refresh_token,
    })
}
