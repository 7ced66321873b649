//! Second factors: an authenticator app, passkeys (`passkeys.rs`), and recovery codes for who has lost them.
//!
//! An account is asked for a code once its app has shown one. A code of the app is good once, and wrong ones are counted
//! for the account, wherever they come from: whoever has the password is not to try a million. A recovery code is looked at
//! all the same: it cannot be guessed, and so nobody who has the password can keep the owner out.

use std::net::IpAddr;
use std::time::Duration;

use credentials::recovery;
use credentials::totp::Secret;
use jiff::Timestamp;
use kit::{Clock, Entropy};
use model::ids::UserId;
use sealing::SecretPlace;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use super::auth::{self, AuthError, TokenPair};
use super::decisions::{self, Decision};
use super::letters::Order;
use super::passkey_check::{self, Answer};
use super::session::{Device, OwnSession};
use super::tables::second_factors as factors;
use super::{Accounts, login_challenge, secrets, sessions, tables};
use crate::database::Pool;
use crate::keys;
use crate::security;
use crate::security::{Event, EventKind};

/// Purpose of the secrets that apps share; the subject is the account's id.
const TOTP: &str = "totp";

/// What an app calls an account of this network, where its site has no name.
const ISSUER: &str = "Storage network";

/// Wrong codes that an account may have within this time.
const MOST_FAILURES: u32 = 10;
const FAILURES_COUNT_FOR: Duration = Duration::from_secs(15 * 60);

/// Codes that a login takes which waits for one.
const TRIES: i32 = 5;

/// What an app is told. No `Debug`.
pub struct Enrolment {
    pub secret: Zeroizing<String>,
    pub uri: Zeroizing<String>,
}

/// What somebody shows once more who changes what lets people in. No `Debug`.
#[derive(Default)]
pub struct Shown {
    pub password: Option<Zeroizing<String>>,
    pub code: Option<Zeroizing<String>>,
    pub passkey: Option<Answer>,
}

/// What an account has of second factors.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Since when it is asked for a code.
    pub totp_since: Option<Timestamp>,
    pub recovery_codes_left: u32,
    pub passkeys: u32,
}

pub async fn status(accounts: &Accounts, user: UserId) -> sqlx::Result<Status> {
    let mut connection = accounts.db.acquire().await?;
    let app = factors::app(&mut connection, user, FAILURES_COUNT_FOR).await?;
    Ok(Status {
        totp_since: app.and_then(|app| app.confirmed_at),
        recovery_codes_left: factors::codes_left(&mut connection, user).await?,
        passkeys: tables::passkeys::count(&mut connection, user).await?,
    })
}

/// Where administrators need a second factor, whether this one has it.
pub async fn demand_of_admin(accounts: &Accounts, user: UserId) -> Result<(), AuthError> {
    if !accounts.config.admin_second_factor {
        return Ok(());
    }
    let mut connection = accounts.db.acquire().await?;
    match login_challenge::is_asked_for(&mut connection, user).await? {
        true => Ok(()),
        false => Err(AuthError::SecondFactorDemanded),
    }
}

/// Whether it is really the account's owner who asks: by the password, with a code where there is a second factor, or by a
/// passkey, which is both.
pub async fn prove(
    accounts: &Accounts,
    user: UserId,
    shown: &Shown,
    address: IpAddr,
) -> Result<(), AuthError> {
    prove_by_one(accounts, user, shown, address).await?;
    prove_by_other(accounts, user, shown).await
}

/// Beside a password the code, where there is a second factor.
async fn prove_by_other(accounts: &Accounts, user: UserId, shown: &Shown) -> Result<(), AuthError> {
    if shown.passkey.is_some() {
        return Ok(());
    }
    let is_asked_for = {
        let mut connection = accounts.db.acquire().await?;
        login_challenge::is_asked_for(&mut connection, user).await?
    };
    match (is_asked_for, &shown.code) {
        (false, _) => Ok(()),
        (true, Some(code)) => check(accounts, user, code).await,
        (true, None) => Err(AuthError::WrongCode),
    }
}

/// The same by password or passkey, whatever second factors there are.
pub async fn prove_by_one(
    accounts: &Accounts,
    user: UserId,
    shown: &Shown,
    address: IpAddr,
) -> Result<(), AuthError> {
    match (&shown.passkey, &shown.password) {
        (Some(answer), _) => match passkey_check::shown(accounts, answer).await? == user {
            true => Ok(()),
            false => Err(AuthError::UnknownPasskey),
        },
        (None, Some(password)) => {
            auth::check_password(accounts, user, password.clone(), address).await?;
            Ok(())
        }
        (None, None) => Err(AuthError::WrongCredentials),
    }
}

/// A secret for an app, which counts once the app has shown a code of it.
pub async fn enrol(
    accounts: &Accounts,
    user: UserId,
    owner: &Shown,
    address: IpAddr,
) -> Result<Enrolment, AuthError> {
    prove_by_one(accounts, user, owner, address).await?;
    if status(accounts, user).await?.totp_since.is_some() {
        return Err(AuthError::HasSecondFactor);
    }
    prove_by_other(accounts, user, owner).await?;
    let secret = Secret::generate(&mut accounts.entropy.rng());
    let subject = user.to_string();
    let mut transaction = accounts.db.begin().await?;
    if !factors::enter(&mut transaction, user).await? {
        return Err(AuthError::HasSecondFactor);
    }
    let rng = &mut accounts.entropy.rng();
    let kept = accounts
        .keys
        .keep_secret(&mut transaction, place(&subject), secret.as_bytes(), rng);
    kept.await.map_err(AuthError::Secret)?;
    let owner = tables::users::by_id(&mut transaction, user).await?;
    let owner = owner.ok_or(AuthError::WrongCredentials)?;
    transaction.commit().await?;
    Ok(Enrolment {
        secret: secret.base32(),
        uri: secret.uri(&accounts.issuer(), &owner.email),
    })
}

/// The app shows that it has the secret: from now on the account is asked for a code, and all its other logins end. Returns its
/// recovery codes, which are shown this once.
pub async fn confirm(
    accounts: &Accounts,
    of: OwnSession,
    code: &str,
) -> Result<Vec<Zeroizing<String>>, AuthError> {
    let user = of.user;
    let status = status(accounts, user).await?;
    if status.totp_since.is_some() {
        return Err(AuthError::HasSecondFactor);
    }
    let step = step_of(accounts, user, code).await?;
    let mut transaction = accounts.db.begin().await?;
    if !factors::take_step(&mut transaction, user, step).await? {
        return Err(AuthError::WrongCode);
    }
    let codes = fresh_codes(accounts, &mut transaction, user).await?;
    sessions::end_all_but(&mut transaction, user, of.session).await?;
    record(&mut transaction, user, "app set up").await?;
    transaction.commit().await?;
    tell(accounts, user);
    Ok(codes)
}

/// The account is not asked for codes of the app any more.
pub async fn remove(
    accounts: &Accounts,
    of: OwnSession,
    owner: &Shown,
    address: IpAddr,
) -> Result<(), AuthError> {
    let user = of.user;
    prove(accounts, user, owner, address).await?;
    let mut transaction = accounts.db.begin().await?;
    if !forget_app(&mut transaction, user).await? {
        return Err(AuthError::NoSecondFactor);
    }
    sessions::end_all_but(&mut transaction, user, of.session).await?;
    record(&mut transaction, user, "app removed").await?;
    transaction.commit().await?;
    tell(accounts, user);
    Ok(())
}

/// By an administrator, for who has lost app and recovery codes. `false` when the account has none.
pub async fn remove_by_administrator(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    user: UserId,
    reason: &str,
) -> sqlx::Result<bool> {
    let mut transaction = db.begin().await?;
    if !forget(&mut transaction, user).await? {
        return Ok(false);
    }
    sessions::end_all(&mut transaction, user).await?;
    let decision = Decision::new(user, decisions::SECOND_FACTOR_REMOVED, reason);
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await?;
    Ok(true)
}

/// App, passkeys and recovery codes. `false` when there were none.
pub async fn forget(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let passkeys = tables::passkeys::remove_all(connection, user).await?;
    let app = forget_app(connection, user).await?;
    Ok(app || passkeys > 0)
}

/// With its secret, and the recovery codes where it was the last second factor.
async fn forget_app(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    keys::tables::secrets::delete(connection, place(&user.to_string())).await?;
    let removed = factors::remove(connection, user).await?;
    factors::forget_idle_codes(connection, user).await?;
    Ok(removed)
}

/// Other recovery codes, in the place of those that there were.
pub async fn renew_codes(
    accounts: &Accounts,
    user: UserId,
    owner: &Shown,
    address: IpAddr,
) -> Result<Vec<Zeroizing<String>>, AuthError> {
    prove(accounts, user, owner, address).await?;
    let mut transaction = accounts.db.begin().await?;
    if !login_challenge::is_asked_for(&mut transaction, user).await? {
        return Err(AuthError::NoSecondFactor);
    }
    let codes = fresh_codes(accounts, &mut transaction, user).await?;
    record(&mut transaction, user, "recovery codes made anew").await?;
    transaction.commit().await?;
    Ok(codes)
}

/// Ends a login that waits, with a code.
pub async fn log_in(
    accounts: &Accounts,
    challenge: &str,
    code: &str,
    device: &Device,
) -> Result<TokenPair, AuthError> {
    let hash = secrets::hash(challenge);
    let user = {
        let mut connection = accounts.db.acquire().await?;
        factors::try_challenge(&mut connection, &hash, TRIES).await?
    };
    let user = user.ok_or(AuthError::BadChallenge)?;
    if let Err(error) = check(accounts, user, code).await {
        accounts.security.refused(EventKind::Login, Some(user));
        return Err(error);
    }
    let mut transaction = accounts.db.begin().await?;
    if !factors::end_challenge(&mut transaction, &hash).await? {
        return Err(AuthError::BadChallenge);
    }
    auth::let_in(accounts, &mut transaction, user).await?;
    let pair = auth::begin(accounts, &mut transaction, user, device).await?;
    transaction.commit().await?;
    accounts.known.changed(user);
    Ok(pair)
}

/// Takes a code, of the app or for recovery; it is good no more.
async fn check(accounts: &Accounts, user: UserId, code: &str) -> Result<(), AuthError> {
    if let Some(form) = recovery::form(code) {
        let mut connection = accounts.db.acquire().await?;
        let hash = secrets::hash(&form);
        let good = factors::use_code(&mut connection, user, &hash).await?;
        return good.then_some(()).ok_or(AuthError::WrongCode);
    }
    let step = step_of(accounts, user, code).await?;
    let mut connection = accounts.db.acquire().await?;
    let taken = factors::take_step(&mut connection, user, step).await?;
    taken.then_some(()).ok_or(AuthError::WrongCode)
}

/// The step that a code of the app is of; whoever goes by it takes it. A wrong code is counted.
async fn step_of(accounts: &Accounts, user: UserId, code: &str) -> Result<i64, AuthError> {
    let subject = user.to_string();
    let (app, wrapped) = {
        let mut connection = accounts.db.acquire().await?;
        let app = factors::app(&mut connection, user, FAILURES_COUNT_FOR).await?;
        let wrapped = keys::tables::secrets::find(&mut connection, place(&subject)).await?;
        app.zip(wrapped).ok_or(AuthError::NoSecondFactor)?
    };
    if app.failures >= MOST_FAILURES {
        return Err(AuthError::TooManyCodes);
    }
    let keys = &accounts.keys;
    let opened = keys.open_secret(place(&subject), &wrapped, &accounts.db);
    let secret = Secret::from_bytes(opened.await.map_err(AuthError::Secret)?);
    let now = accounts.clock.now().as_second();
    if let Some(step) = secret.check(code.trim(), now, app.last_step) {
        return Ok(step);
    }
    let mut connection = accounts.db.acquire().await?;
    factors::count_failure(&mut connection, user, FAILURES_COUNT_FOR).await?;
    Err(AuthError::WrongCode)
}

pub(super) async fn fresh_codes(
    accounts: &Accounts,
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Vec<Zeroizing<String>>> {
    let codes = recovery::generate(&mut accounts.entropy.rng());
    let forms = codes.iter().filter_map(|code| recovery::form(code));
    let hashes: Vec<Vec<u8>> = forms.map(|form| secrets::hash(&form).to_vec()).collect();
    factors::replace_codes(connection, user, &hashes).await?;
    Ok(codes)
}

pub(super) async fn record(
    connection: &mut PgConnection,
    user: UserId,
    what: &str,
) -> sqlx::Result<()> {
    let event = Event::done(EventKind::SecondFactorChanged, user).of(what);
    security::record(connection, event).await
}

pub(super) fn tell(accounts: &Accounts, user: UserId) {
    accounts.known.changed(user);
    tracing::info!(user_id = %user, "a second factor was changed, and other logins of its account have ended");
    let _ = accounts.order_letter(Order::Changed(user, "The second factor")); // as good as it goes
}

const fn place(subject: &str) -> SecretPlace<'_> {
    SecretPlace {
        purpose: TOTP,
        subject,
    }
}

impl Accounts {
    /// What apps show beside a code.
    fn issuer(&self) -> String {
        let uri = self.public_url.parse::<http::Uri>().ok();
        let host = uri.as_ref().and_then(http::Uri::host);
        host.unwrap_or(ISSUER).to_owned()
    }
}
