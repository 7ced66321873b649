//! Accounts: register, log in, renew, log out.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::access_tokens::{Claimed, SigningError};
use crate::accounts::letters::{NoLetter, Order};
use crate::accounts::login_challenge::Challenge;
use crate::accounts::passwords::PasswordError;
use crate::accounts::session::{Device, OwnSession};
use crate::accounts::suspension::Verdict;
use crate::accounts::tables::refresh_tokens::StoredToken;
use crate::accounts::{
    Accounts, access_tokens, login_challenge, secrets, sessions, suspension, tables,
};

use crate::bookkeeping::chart;
use crate::security;
use crate::security::{Event, EventKind};
use model::ids::{UserId, uuid_v7};
use model::names::Email;
use model::node_state::NetworkPrefix;
use model::user::Role;

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
    #[error("the token is unknown, used or expired")]
    BadToken,
    #[error("the address has not been shown to be the owner's")]
    AddressNotVerified,
    #[error("the password was right, and a second factor is asked for")]
    SecondFactorRequired(Challenge),
    #[error("this login waits for no code")]
    BadChallenge,
    #[error("the code is wrong, or was used before")]
    WrongCode,
    #[error("too many wrong codes for this account")]
    TooManyCodes,
    #[error("the account has a second factor already")]
    HasSecondFactor,
    #[error("the account has no second factor")]
    NoSecondFactor,
    #[error("administrators need a second factor here")]
    SecondFactorDemanded,
    #[error(transparent)]
    NoSite(#[from] ::passkeys::NotASite),
    #[error("no passkey can be made of what the browser sent")]
    BadPasskey(#[source] ::passkeys::Refused),
    #[error("the passkey was not shown as it was asked for")]
    WrongPasskey(#[source] ::passkeys::Refused),
    #[error("this passkey is none of the account's")]
    UnknownPasskey,
    #[error("an account may have {limit} passkeys")]
    TooManyPasskeys { limit: u32 },
    #[error("a passkey's name has 1 to 256 bytes and no control characters")]
    PasskeyName,
    #[error("without it nobody could enter the account")]
    LastWayIn,
    #[error("a secret cannot be kept or read")]
    Secret(#[source] anyhow::Error),
    #[error(transparent)]
    NoLetter(#[from] NoLetter),
    /// Told only to who has shown that the account is his.
    #[error("the account is suspended: {0}")]
    Suspended(String),
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
    let known = accounts.known_of(email.as_str());
    let policy = accounts.password_policy();
    let hash = accounts
        .passwords
        .hash_new(password, policy, known, address)
        .await?;
    let id = UserId::from_uuid(uuid_v7(accounts.clock.now(), &mut accounts.entropy.rng()));
    let mut transaction = accounts.db.begin().await?;
    if !tables::users::insert(&mut transaction, id, email, &hash).await? {
        accounts.security.refused(EventKind::Registered, None);
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
    let event = Event::done(EventKind::Registered, id);
    security::count(&mut transaction, event, accounts.clock.now()).await?;
    transaction.commit().await?;
    let _ = accounts.order_letter(Order::Verify(id)); // can be asked for again
    Ok(id)
}

/// A new login. An account that has `auth.logins_per_account` loses the one that was used least lately.
pub async fn login(
    accounts: &Accounts,
    email: &str,
    password: Zeroizing<String>,
    device: &Device,
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
    let passwords = &accounts.passwords;
    let matches = passwords.verify(password, hash, device.address).await?;
    let about = known.as_ref().map(|(user, ..)| *user);
    let Some((user_id, _, hash)) = known.filter(|_| matches) else {
        accounts.security.refused(EventKind::Login, about);
        return Err(AuthError::WrongCredentials);
    };
    let mut transaction = accounts.db.begin().await?;
    let_in(accounts, &mut transaction, user_id).await?;
    if login_challenge::is_asked_for(&mut transaction, user_id).await? {
        let challenge = login_challenge::begin(accounts, &mut transaction, user_id).await?;
        transaction.commit().await?;
        return Err(AuthError::SecondFactorRequired(challenge));
    }
    let pair = begin(accounts, &mut transaction, user_id, device).await?;
    // Since it was checked it may have been changed, which has ended all that came before it.
    let now = tables::users::password_of(&mut transaction, user_id).await?;
    if now.is_none_or(|(_, now)| now != hash) {
        return Err(AuthError::WrongCredentials);
    }
    transaction.commit().await?;
    accounts.known.changed(user_id);
    Ok(pair)
}

/// Refuses suspended and closed accounts, after the password was right: nobody else is to learn of it.
pub(super) async fn let_in(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
) -> Result<(), AuthError> {
    let refused = match suspension::look(connection, user).await? {
        Verdict::Open => return Ok(()),
        Verdict::Gone => AuthError::WrongCredentials,
        Verdict::Suspended { reason } => AuthError::Suspended(reason),
    };
    accounts.security.refused(EventKind::Login, Some(user));
    Err(refused)
}

/// A login of somebody who has shown all that he is asked for.
pub(super) async fn begin(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user_id: UserId,
    device: &Device,
) -> Result<TokenPair, AuthError> {
    let user = tables::users::by_id(connection, user_id).await?;
    let role = user.ok_or(AuthError::WrongCredentials)?.role;
    let others = accounts.config.logins_per_account.saturating_sub(1);
    let login = begin_login(accounts, connection, user_id, others, device).await?;
    let event = Event::done(EventKind::Login, user_id);
    security::count(connection, event, accounts.clock.now()).await?;
    pair(accounts, role, login)
}

/// Whether the account is closed, or was never there.
pub async fn is_closed(accounts: &Accounts, user: UserId) -> sqlx::Result<bool> {
    let mut connection = accounts.db.acquire().await?;
    let standing = tables::standing::of(&mut connection, user).await?;
    Ok(standing.is_none_or(|standing| standing.is_closed))
}

/// Whether it is really the account's owner who asks. Returns what he may do, and the hash that the password had.
pub async fn check_password(
    accounts: &Accounts,
    user: UserId,
    password: Zeroizing<String>,
    address: IpAddr,
) -> Result<(Role, String), AuthError> {
    let known = {
        let mut connection = accounts.db.acquire().await?;
        tables::users::password_of(&mut connection, user).await?
    };
    let (role, hash) = known.ok_or(AuthError::WrongCredentials)?;
    let passwords = &accounts.passwords;
    match passwords
        .verify(password, Some(hash.clone()), address)
        .await?
    {
        true => Ok((role, hash)),
        false => Err(AuthError::WrongCredentials),
    }
}

/// Sets another password and ends every login but the one it is done from: whoever knew the old one is out. Repeated, because
/// the answer was lost, it does nothing more.
pub async fn change_password(
    accounts: &Accounts,
    of: OwnSession,
    current: Zeroizing<String>,
    new: Zeroizing<String>,
    address: IpAddr,
) -> Result<(), AuthError> {
    let user_id = of.user;
    let checked = check_password(accounts, user_id, current, address).await;
    let old_hash = match checked {
        Ok((_, hash)) => hash,
        Err(AuthError::WrongCredentials) => {
            let repeated = check_password(accounts, user_id, new, address).await;
            if let Err(AuthError::WrongCredentials) = repeated {
                let security = &accounts.security;
                security.refused(EventKind::PasswordChanged, Some(user_id));
            }
            return repeated.map(|_| ()); // it is the password already
        }
        Err(error) => return Err(error),
    };
    let known = {
        let mut connection = accounts.db.acquire().await?;
        tables::users::by_id(&mut connection, user_id).await?
    };
    let known = known.ok_or(AuthError::WrongCredentials)?.email;
    let known = accounts.known_of(&known);
    let policy = accounts.password_policy();
    let hash = accounts
        .passwords
        .hash_new(new, policy, known, address)
        .await?;
    let mut transaction = accounts.db.begin().await?;
    sessions::end_all_but(&mut transaction, user_id, of.session).await?;
    tables::tokens::forget_of(&mut transaction, user_id).await?;
    tables::second_factors::end_challenges_of(&mut transaction, user_id).await?;
    // Of two who change it at once, one has checked a password that is no longer it.
    if !tables::users::set_password(&mut transaction, user_id, &old_hash, &hash).await? {
        return Err(AuthError::WrongCredentials);
    }
    security::record(
        &mut transaction,
        Event::done(EventKind::PasswordChanged, user_id),
    )
    .await?;
    transaction.commit().await?;
    accounts.known.changed(user_id);
    tracing::info!(%user_id, "a password was changed, and all other logins of its account have ended");
    let _ = accounts.order_letter(Order::Changed(user_id, "The password")); // as good as it goes
    Ok(())
}

/// A session, and what it is renewed with next.
struct Renewable {
    claimed: Claimed,
    expires_at: Timestamp,
    refresh_token: Zeroizing<String>,
}

/// A login beside so many others of this user.
async fn begin_login(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
    others: u32,
    device: &Device,
) -> Result<Renewable, AuthError> {
    let mut rng = accounts.entropy.rng();
    let family = uuid_v7(accounts.clock.now(), &mut rng);
    let token = secrets::first_refresh_token(family, &mut rng);
    let stale = tables::refresh_tokens::beyond_latest(connection, user, others).await?;
    sessions::end_families(connection, &stale).await?;
    renewable(accounts, connection, user, family, token, device).await
}

/// The session of this family, and its token kept until its time is over.
async fn renewable(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user_id: UserId,
    family: Uuid,
    refresh_token: Zeroizing<String>,
    device: &Device,
) -> Result<Renewable, AuthError> {
    let session = sessions::of_family(accounts, connection, user_id, family, device).await?;
    let (session_id, expires_at) = session.ok_or(AuthError::BadRefreshToken)?;
    keep(
        accounts,
        connection,
        user_id,
        family,
        &refresh_token,
        expires_at,
    )
    .await?;
    Ok(Renewable {
        claimed: Claimed {
            user_id,
            session_id,
        },
        expires_at,
        refresh_token,
    })
}

/// Exchanges a refresh token for a new pair. Within `GRACE` the same token gives the same one again, unless that has
/// been used by then: the answer may have been lost. Otherwise a token that was used before was stolen, or its answer
/// was: the whole login ends.
pub async fn refresh(
    accounts: &Accounts,
    token: &str,
    device: &Device,
) -> Result<TokenPair, AuthError> {
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
                accounts.security.refused(EventKind::TokenReused, None);
            }
            transaction.commit().await?;
        }
        return Err(AuthError::BadRefreshToken);
    };
    tables::refresh_tokens::lock_family(&mut transaction, stored.family).await?;
    if let Some(reason) = stored.suspended.clone() {
        return Err(AuthError::Suspended(reason));
    }
    let next = if stored.used {
        match answered_before(accounts, &mut transaction, &stored, token).await? {
            Some(next) => next,
            None => {
                tracing::warn!(user_id = %stored.user_id, "a refresh token came back: its login is ended");
                accounts
                    .security
                    .refused(EventKind::TokenReused, Some(stored.user_id));
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
        next
    };
    let (user, family) = (stored.user_id, stored.family);
    let renewed = renewable(accounts, &mut transaction, user, family, next, device).await?;
    transaction.commit().await?;
    pair(accounts, stored.role, renewed)
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
    if let Some(stored) = &stored {
        let event = Event::done(EventKind::SessionEnded, stored.user_id);
        security::count(&mut transaction, event, accounts.clock.now()).await?;
    }
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
    session_ends_at: Timestamp,
) -> sqlx::Result<()> {
    let expires_at = after(accounts, accounts.config.refresh_token_ttl).min(session_ends_at);
    let hash = secrets::hash(token);
    tables::refresh_tokens::insert(connection, &hash, login, user, expires_at).await
}

fn after(accounts: &Accounts, ttl: Duration) -> Timestamp {
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    let at = accounts.clock.now().saturating_add(ttl);
    at.unwrap_or(Timestamp::MAX)
}

fn pair(accounts: &Accounts, role: Role, session: Renewable) -> Result<TokenPair, AuthError> {
    let now = accounts.clock.now();
    let expires_at = after(accounts, accounts.config.access_token_ttl).min(session.expires_at);
    // The database keeps microseconds: what is left of a second counts as one.
    let milliseconds = expires_at.duration_since(now).as_millis();
    let seconds = u64::try_from(milliseconds).unwrap_or(0).div_ceil(1000);
    Ok(TokenPair {
        access_token: access_tokens::issue(&accounts.keys, session.claimed, role, now, expires_at)?,
        expires_in_seconds: seconds,
        refresh_token: session.refresh_token,
    })
}
