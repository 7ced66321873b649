//! Passkeys: logging in with one and without a password, and who may add and remove them.

use std::net::IpAddr;

use model::ids::{PasskeyId, UserId, uuid_v7};
use zeroize::Zeroizing;

use super::auth::{self, AuthError, TokenPair};
use super::passkey_check::{Answer, Question, ask, shown, site};
use super::second_factor::{self, Shown};
use super::session::{Device, OwnSession};
use super::tables::passkeys::{self as tables, Purpose, Stored};
use super::tables::{second_factors as factors, tokens, users};
use super::{Accounts, login_challenge, secrets, sessions};
use crate::security::EventKind;

/// Passkeys that an account may have.
const MOST: u32 = 50;

/// The longest name of a passkey, in bytes.
const LONGEST_NAME: usize = 256;

/// Whoever wants to log in is asked for any passkey of this site; where his password was right, for one of his account.
pub async fn begin_login(
    accounts: &Accounts,
    waiting: Option<&str>,
    address: IpAddr,
) -> Result<Question, AuthError> {
    let site = site(accounts)?;
    let user = match waiting {
        Some(waiting) => {
            let mut connection = accounts.db.acquire().await?;
            let user = factors::waits_for(&mut connection, &secrets::hash(waiting)).await?;
            Some(user.ok_or(AuthError::BadChallenge)?)
        }
        None => None,
    };
    let known = match user {
        Some(user) => ids(accounts, user).await?,
        None => Vec::new(),
    };
    let begun = site.ask(&known).map_err(AuthError::WrongPasskey)?;
    ask(accounts, (user, Purpose::Show), address, begun).await
}

/// A login of whoever shows a passkey: that is two factors.
pub async fn log_in(
    accounts: &Accounts,
    answer: &Answer,
    device: &Device,
) -> Result<TokenPair, AuthError> {
    let user = match shown(accounts, answer).await {
        Ok(user) => user,
        Err(error) => {
            accounts.security.refused(EventKind::Login, None);
            return Err(error);
        }
    };
    let claimed = ::passkeys::claim(&answer.credential).map_err(AuthError::WrongPasskey)?;
    let mut transaction = accounts.db.begin().await?;
    auth::let_in(accounts, &mut transaction, user).await?;
    let pair = auth::begin(accounts, &mut transaction, user, device).await?;
    // Since it was shown it may have been removed, which has ended all logins that came before it. Whoever removes it from now
    // on waits for this login, and ends it too.
    let still = tables::by_credential(&mut transaction, &claimed.credential_id).await?;
    if still.is_none_or(|still| still.user != user) {
        return Err(AuthError::UnknownPasskey);
    }
    transaction.commit().await?;
    accounts.known.changed(user);
    Ok(pair)
}

async fn ids(accounts: &Accounts, user: UserId) -> sqlx::Result<Vec<Vec<u8>>> {
    let known = list(accounts, user).await?.into_iter();
    Ok(known.map(|stored| stored.credential_id).collect())
}

pub async fn list(accounts: &Accounts, user: UserId) -> sqlx::Result<Vec<Stored>> {
    let mut connection = accounts.db.acquire().await?;
    tables::of_user(&mut connection, user).await
}

/// Has a browser make a passkey for the account, for who has shown that he is its owner.
pub async fn begin(
    accounts: &Accounts,
    user: UserId,
    owner: &Shown,
    address: IpAddr,
) -> Result<Question, AuthError> {
    let site = site(accounts)?;
    second_factor::prove(accounts, user, owner, address).await?;
    let known = ids(accounts, user).await?;
    let email = {
        let mut connection = accounts.db.acquire().await?;
        let owner = users::by_id(&mut connection, user).await?;
        owner.ok_or(AuthError::WrongCredentials)?.email
    };
    let begun = site.register(user.as_uuid(), &email, &known);
    let begun = begun.map_err(AuthError::BadPasskey)?;
    ask(accounts, (Some(user), Purpose::Make), address, begun).await
}

/// A passkey that is the account's from now on, and recovery codes where it is the first second factor: then all its other
/// logins end. Sent again because the answer was lost, it is answered without the codes, which can be made anew.
pub async fn add(
    accounts: &Accounts,
    of: OwnSession,
    name: &str,
    answer: &Answer,
) -> Result<(Stored, Vec<Zeroizing<String>>), AuthError> {
    let (site, user) = (site(accounts)?, of.user);
    let name = checked_name(name)?;
    let asked = {
        let mut connection = accounts.db.acquire().await?;
        let hash = secrets::hash(&answer.challenge);
        tables::take(&mut connection, &hash, Purpose::Make).await?
    };
    let Some((_, state)) = asked.filter(|(asked_of, _)| *asked_of == Some(user)) else {
        return added_before(accounts, user, answer).await;
    };
    let made = site.registered(&state, &answer.credential);
    let made = made.map_err(AuthError::BadPasskey)?;
    let id = PasskeyId::from_uuid(uuid_v7(accounts.clock.now(), &mut accounts.entropy.rng()));
    let mut transaction = accounts.db.begin().await?;
    if tables::lock_count(&mut transaction, user).await? >= MOST {
        return Err(AuthError::TooManyPasskeys { limit: MOST });
    }
    let is_first = !login_challenge::is_asked_for(&mut transaction, user).await?;
    if !tables::insert(&mut transaction, id, user, &made, name).await? {
        return Err(AuthError::UnknownPasskey);
    }
    let codes = match is_first {
        true => {
            sessions::end_all_but(&mut transaction, user, of.session).await?;
            second_factor::fresh_codes(accounts, &mut transaction, user).await?
        }
        false => Vec::new(),
    };
    second_factor::record(&mut transaction, user, "passkey added").await?;
    let stored = tables::by_credential(&mut transaction, &made.credential_id).await?;
    transaction.commit().await?;
    second_factor::tell(accounts, user);
    Ok((stored.ok_or(AuthError::UnknownPasskey)?, codes))
}

async fn added_before(
    accounts: &Accounts,
    user: UserId,
    answer: &Answer,
) -> Result<(Stored, Vec<Zeroizing<String>>), AuthError> {
    let id = ::passkeys::made_id(&answer.credential).map_err(AuthError::BadPasskey)?;
    let mut connection = accounts.db.acquire().await?;
    let stored = tables::by_credential(&mut connection, &id).await?;
    let own = stored.filter(|stored| stored.user == user);
    Ok((own.ok_or(AuthError::BadChallenge)?, Vec::new()))
}

/// `false` when it is none of the account's.
pub async fn rename(
    accounts: &Accounts,
    user: UserId,
    id: PasskeyId,
    name: &str,
) -> Result<bool, AuthError> {
    let name = checked_name(name)?;
    let mut connection = accounts.db.acquire().await?;
    Ok(tables::rename(&mut connection, user, id, name).await?)
}

fn checked_name(name: &str) -> Result<&str, AuthError> {
    let name = name.trim();
    match (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control) {
        true => Ok(name),
        false => Err(AuthError::PasskeyName),
    }
}

/// It lets nobody in any more, and all other logins of the account end. The last one of an account without a password stays.
pub async fn remove(
    accounts: &Accounts,
    of: OwnSession,
    id: PasskeyId,
    owner: &Shown,
    address: IpAddr,
) -> Result<(), AuthError> {
    let user = of.user;
    second_factor::prove(accounts, user, owner, address).await?;
    let mut transaction = accounts.db.begin().await?;
    let count = tables::lock_count(&mut transaction, user).await?;
    if !tables::remove(&mut transaction, user, id).await? {
        return Ok(()); // not any more
    }
    if count == 1 && !users::has_password(&mut transaction, user).await? {
        return Err(AuthError::LastWayIn);
    }
    factors::forget_idle_codes(&mut transaction, user).await?;
    sessions::end_all_but(&mut transaction, user, of.session).await?;
    second_factor::record(&mut transaction, user, "passkey removed").await?;
    transaction.commit().await?;
    second_factor::tell(accounts, user);
    Ok(())
}

/// The account is entered with passkeys alone from now on, and all its other logins end. A letter can set a password again.
pub async fn give_up_password(
    accounts: &Accounts,
    of: OwnSession,
    answer: &Answer,
) -> Result<(), AuthError> {
    let user = of.user;
    if shown(accounts, answer).await? != user {
        return Err(AuthError::UnknownPasskey);
    }
    let mut transaction = accounts.db.begin().await?;
    if tables::lock_count(&mut transaction, user).await? == 0 {
        return Err(AuthError::LastWayIn);
    }
    users::give_up_password(&mut transaction, user).await?;
    tokens::forget_of(&mut transaction, user).await?;
    factors::end_challenges_of(&mut transaction, user).await?;
    sessions::end_all_but(&mut transaction, user, of.session).await?;
    second_factor::record(&mut transaction, user, "password given up").await?;
    transaction.commit().await?;
    second_factor::tell(accounts, user);
    Ok(())
}
