//! Accounts: register, log in, renew, log out.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::access_tokens::{Identity, SigningError};
use crate::accounts::passwords::PasswordError;
use crate::accounts::{Accounts, access_tokens, secrets, tables};

use crate::bookkeeping::chart;
use model::ids::{UserId, uuid_v7};
use model::names::Email;
use model::node_state::NetworkPrefix;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the address is taken")]
    AddressTaken,
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
    let hash = accounts.passwords.hash(password).await?;
    let id = UserId::from_uuid(uuid_v7(accounts.clock.now(), &mut accounts.entropy.rng()));
    let mut transaction = accounts.db.begin().await?;
    if !tables::users::insert(&mut transaction, id, email, &hash).await? {
        return Err(AuthError::AddressTaken);
    }
    ledger::open_accounts(&mut transaction, id.as_uuid(), &chart::OF_USERS).await?;
    // Last: accounts from one network wait for each other from here on.
    if let Some(network) = NetworkPrefix::of(address) {
        let registered = tables::users::count_registration(&mut transaction, network).await?;
        if registered > accounts.trial_accounts_per_network {
            tables::users::deny_trial(&mut transaction, id).await?;
        }
    }
    transaction.commit().await?;
    Ok(id)
}

pub async fn login(
    accounts: &Accounts,
    email: &str,
    password: Zeroizing<String>,
) -> Result<TokenPair, AuthError> {
    // What cannot be an address, a NUL in it above all, is not worth asking the database for.
    let known = match Email::try_from(email.to_owned()) {
        Ok(email) => {
            let mut connection = accounts.db.acquire().await?;
            tables::users::credentials(&mut connection, email.as_str()).await?
        }
        Err(_) => None,
    };
    let hash = known.as_ref().map(|(_, _, hash)| hash.clone());
    let matches = accounts.passwords.verify(password, hash).await?;
    let Some((user_id, role, _)) = known.filter(|_| matches) else {
        return Err(AuthError::WrongCredentials);
    };
    let family = uuid_v7(accounts.clock.now(), &mut accounts.entropy.rng());
    let mut connection = accounts.db.acquire().await?;
    issue(
        accounts,
        &mut connection,
        Identity { user_id, role },
        family,
    )
    .await
}

/// Exchanges a refresh token for a new pair. A token that was used before was stolen, or its answer
/// was: the whole family ends.
pub async fn refresh(accounts: &Accounts, token: &str) -> Result<TokenPair, AuthError> {
    let hash = secrets::hash(token);
    let mut transaction = accounts.db.begin().await?;
    let stored = tables::refresh_tokens::lock(&mut transaction, &hash)
        .await?
        .ok_or(AuthError::BadRefreshToken)?;
    tables::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
    if stored.used {
        tracing::warn!(user_id = %stored.user_id, "a refresh token came back: its login is ended");
        tables::refresh_tokens::revoke_family(&mut transaction, stored.family).await?;
        transaction.commit().await?;
        return Err(AuthError::BadRefreshToken);
    }
    if stored.expired {
        return Err(AuthError::BadRefreshToken);
    }
    tables::refresh_tokens::mark_used(&mut transaction, &hash).await?;
    let identity = Identity {
        user_id: stored.user_id,
        role: stored.role,
    };
    let pair = issue(accounts, &mut transaction, identity, stored.family).await?;
    transaction.commit().await?;
    Ok(pair)
}

/// Ends the login that a refresh token belongs to; harmless when it is not known.
pub async fn logout(accounts: &Accounts, token: &str) -> Result<(), AuthError> {
    let mut transaction = accounts.db.begin().await?;
    let stored = tables::refresh_tokens::lock(&mut transaction, &secrets::hash(token)).await?;
    if let Some(stored) = stored {
        tables::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
        tables::refresh_tokens::revoke_family(&mut transaction, stored.family).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn issue(
    accounts: &Accounts,
    connection: &mut PgConnection,
    identity: Identity,
    family: Uuid,
) -> Result<TokenPair, AuthError> {
    let (now, config) = (accounts.clock.now(), &accounts.config);
    let refresh_token = secrets::generate("fsnr", &mut accounts.entropy.rng());
    let ttl = SignedDuration::try_from(config.refresh_token_ttl).unwrap_or(SignedDuration::MAX);
    let expires_at = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    tables::refresh_tokens::insert(
        connection,
        &secrets::hash(&refresh_token),
        family,
        identity.user_id,
        expires_at,
    )
    .await?;
    Ok(TokenPair {
        access_token: access_tokens::issue(&accounts.keys, identity, now, config.access_token_ttl)?,
        expires_in_seconds: config.access_token_ttl.as_secs(),
        refresh_token,
    })
}
