//! Accounts: register, log in, renew, log out.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::access_tokens::{self, Identity, SigningError};
use super::passwords::PasswordError;
use super::{App, secrets};
use crate::clock;
use crate::db;
use crate::domain::ids::{UserId, uuid_v7};
use crate::domain::names::Email;
use crate::domain::node::NetworkPrefix;

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
    app: &App,
    email: &Email,
    password: Zeroizing<String>,
    address: IpAddr,
) -> Result<UserId, AuthError> {
    let hash = app.passwords.hash(password).await?;
    let id = UserId::from_uuid(uuid_v7(clock::now(), &mut clock::rng()));
    let mut transaction = app.db.begin().await?;
    if !db::users::insert(&mut transaction, id, email, &hash).await? {
        return Err(AuthError::AddressTaken);
    }
    db::ledger::open_user_accounts(&mut transaction, id).await?;
    // Last: accounts from one network wait for each other from here on.
    if let Some(network) = NetworkPrefix::of(address) {
        let accounts = db::users::count_registration(&mut transaction, network).await?;
        if accounts > app.config.money.trial_accounts_per_network {
            db::users::deny_trial(&mut transaction, id).await?;
        }
    }
    transaction.commit().await?;
    Ok(id)
}

pub async fn login(
    app: &App,
    email: &str,
    password: Zeroizing<String>,
) -> Result<TokenPair, AuthError> {
    // What cannot be an address, a NUL in it above all, is not worth asking the database for.
    let known = match Email::try_from(email.to_owned()) {
        Ok(email) => {
            let mut connection = app.db.acquire().await?;
            db::users::credentials(&mut connection, email.as_str()).await?
        }
        Err(_) => None,
    };
    let hash = known.as_ref().map(|(_, _, hash)| hash.clone());
    let matches = app.passwords.verify(password, hash).await?;
    let Some((user_id, role, _)) = known.filter(|_| matches) else {
        return Err(AuthError::WrongCredentials);
    };
    let family = uuid_v7(clock::now(), &mut clock::rng());
    let mut connection = app.db.acquire().await?;
    issue(app, &mut connection, Identity { user_id, role }, family).await
}

/// Exchanges a refresh token for a new pair. A token that was used before was stolen, or its answer
/// was: the whole family ends.
pub async fn refresh(app: &App, token: &str) -> Result<TokenPair, AuthError> {
    let hash = secrets::hash(token);
    let mut transaction = app.db.begin().await?;
    let stored = db::refresh_tokens::lock(&mut transaction, &hash)
        .await?
        .ok_or(AuthError::BadRefreshToken)?;
    db::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
    if stored.used {
        tracing::warn!(user_id = %stored.user_id, "a refresh token came back: its login is ended");
        db::refresh_tokens::revoke_family(&mut transaction, stored.family).await?;
        transaction.commit().await?;
        return Err(AuthError::BadRefreshToken);
    }
    if stored.expired {
        return Err(AuthError::BadRefreshToken);
    }
    db::refresh_tokens::mark_used(&mut transaction, &hash).await?;
    let identity = Identity {
        user_id: stored.user_id,
        role: stored.role,
    };
    let pair = issue(app, &mut transaction, identity, stored.family).await?;
    transaction.commit().await?;
    Ok(pair)
}

/// Ends the login that a refresh token belongs to; harmless when it is not known.
pub async fn logout(app: &App, token: &str) -> Result<(), AuthError> {
    let mut transaction = app.db.begin().await?;
    let stored = db::refresh_tokens::lock(&mut transaction, &secrets::hash(token)).await?;
    if let Some(stored) = stored {
        db::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
        db::refresh_tokens::revoke_family(&mut transaction, stored.family).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn issue(
    app: &App,
    connection: &mut PgConnection,
    identity: Identity,
    family: Uuid,
) -> Result<TokenPair, AuthError> {
    let (now, config) = (clock::now(), &app.config.auth);
    let refresh_token = secrets::generate("fsnr", &mut clock::rng());
    let ttl = SignedDuration::try_from(config.refresh_token_ttl).unwrap_or(SignedDuration::MAX);
    let expires_at = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    db::refresh_tokens::insert(
        connection,
        &secrets::hash(&refresh_token),
        family,
        identity.user_id,
        expires_at,
    )
    .await?;
    Ok(TokenPair {
        access_token: access_tokens::issue(&app.keys, identity, now, config.access_token_ttl)?,
        expires_in_seconds: config.access_token_ttl.as_secs(),
        refresh_token,
    })
}
