//! What browsers are asked about passkeys, and whether what they show is one that is known here.
//!
//! A question lies in the database, under the hash of a token, for five minutes: any coordinator takes the answer, and
//! each is taken once. An account and a network have room for so many questions; the oldest give way.

use std::net::IpAddr;

use ::passkeys::{Begun, GOOD_FOR, NotASite, Site, claim};
use model::ids::UserId;
use rules::client_address::network_of;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::auth::AuthError;
use super::tables::passkeys::{self as tables, Asked, Purpose};
use super::{Accounts, secrets};

/// Questions that wait beside another one.
const OTHERS: i64 = 19;

/// What a browser answers, and to which question.
pub struct Answer {
    pub challenge: Zeroizing<String>,
    pub credential: Value,
}

/// A question for a browser, and what its answer comes with.
pub struct Question {
    pub challenge: Zeroizing<String>,
    pub options: Value,
}

pub(super) fn site(accounts: &Accounts) -> Result<&Site, AuthError> {
    Ok(accounts.site.as_ref().ok_or(NotASite)?)
}

/// Keeps a question until it is answered.
pub(super) async fn ask(
    accounts: &Accounts,
    (user, purpose): (Option<UserId>, Purpose),
    address: IpAddr,
    begun: Begun,
) -> Result<Question, AuthError> {
    let token = secrets::generate("fsnp", &mut accounts.entropy.rng());
    let network = network_of(address).to_string();
    let asked = Asked {
        user,
        purpose,
        network: &network,
        state: &begun.state,
    };
    let mut connection = accounts.db.acquire().await?;
    let bound = (GOOD_FOR, OTHERS);
    tables::ask(&mut connection, &secrets::hash(&token), &asked, bound).await?;
    Ok(Question {
        challenge: token,
        options: begun.options,
    })
}

/// Whose passkey was shown.
pub(super) async fn shown(accounts: &Accounts, answer: &Answer) -> Result<UserId, AuthError> {
    let site = site(accounts)?;
    let claimed = claim(&answer.credential).map_err(AuthError::WrongPasskey)?;
    let (asked, stored) = {
        let mut connection = accounts.db.acquire().await?;
        let hash = secrets::hash(&answer.challenge);
        let asked = tables::take(&mut connection, &hash, Purpose::Show).await?;
        let stored = tables::by_credential(&mut connection, &claimed.credential_id).await?;
        (asked, stored)
    };
    let (of, state) = asked.ok_or(AuthError::BadChallenge)?;
    let stored = stored.ok_or(AuthError::UnknownPasskey)?;
    // A passkey that is asked for by nobody's name has to tell whose it is.
    let is_named = of.is_some() || claimed.user.is_some();
    let is_whose = |named: Option<Uuid>| named.is_none_or(|named| named == stored.user.as_uuid());
    if !is_named || !is_whose(of.map(|of| of.as_uuid())) || !is_whose(claimed.user) {
        return Err(AuthError::UnknownPasskey);
    }
    let checked = site.check(&state, &answer.credential, &stored.passkey);
    let moved = checked.map_err(AuthError::WrongPasskey)?;
    let mut connection = accounts.db.acquire().await?;
    match tables::used(&mut connection, &stored, moved.as_deref()).await? {
        true => Ok(stored.user),
        false => Err(AuthError::UnknownPasskey), // removed, or shown twice at once
    }
}
