//! `/auth/passkeys`, logging in with one, and giving the password up.

use std::sync::Arc;

use api::auth::Tokens;
use api::passkeys::{
    AddedPasskey, NewPasskey, Passkey, PasskeyAnswer, PasskeyLogin, PasskeyName, PasskeyQuestion,
    Passkeys,
};
use api::paths;
use api::second_factor::Proven;
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use model::ids::PasskeyId;
use zeroize::Zeroizing;

use super::authorization::{Login, User};
use super::extract::{ClientAddr, FromDevice, Id, Json};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::accounts::passkey_check::{Answer, Question};
use crate::accounts::{Accounts, passkeys};

impl From<Question> for PasskeyQuestion {
    fn from(question: Question) -> Self {
        Self {
            challenge: question.challenge.to_string(),
            expires_in: ::passkeys::GOOD_FOR.as_secs(),
            options: question.options,
        }
    }
}

/// Begin to log in with a passkey, without a password or beside one. The answer goes to `auth/login/passkey`.
#[utoipa::path(post, path = paths::LOGIN_PASSKEY_BEGIN, tag = "auth", request_body = PasskeyLogin, responses(
    (status = 200, body = PasskeyQuestion),
    (status = 401, description = "The login with this `login_challenge` waits no more"),
    (status = 429, description = "Too many attempts from this address"),
    (status = 503, description = "This network's site has no name")))]
pub(super) async fn begin_login(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<PasskeyLogin>,
) -> Result<Json<PasskeyQuestion>, Problem> {
    limits.check_address(address)?;
    let waiting = body.login_challenge.map(Zeroizing::new);
    let waiting = waiting.as_ref().map(|waiting| waiting.as_str());
    let question = passkeys::begin_login(&accounts, waiting, address).await?;
    Ok(Json(question.into()))
}

/// Log in with a passkey. It is asked for the user's finger or PIN, so that nothing else is asked for.
#[utoipa::path(post, path = paths::LOGIN_PASSKEY, tag = "auth", request_body = PasskeyAnswer, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The passkey is unknown here or does not hold, or the question is not open any more"),
    (status = 429, description = "Too many attempts from this address")))]
pub(super) async fn log_in(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    FromDevice(device): FromDevice,
    Json(body): Json<PasskeyAnswer>,
) -> Result<Json<Tokens>, Problem> {
    limits.check_address(device.address)?;
    let pair = passkeys::log_in(&accounts, &Answer::from(body), &device).await?;
    Ok(Json(pair.into()))
}

/// The account's passkeys.
#[utoipa::path(get, path = paths::PASSKEYS, tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = Passkeys)))]
pub(super) async fn list(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
) -> Result<Json<Passkeys>, Problem> {
    let stored = passkeys::list(&accounts, caller.user_id).await?.into_iter();
    let items = stored.map(|stored| Passkey {
        passkey_id: stored.id.as_uuid(),
        name: stored.name,
        created_at: stored.created_at,
        last_used_at: stored.last_used_at,
    });
    Ok(Json(Passkeys {
        items: items.collect(),
    }))
}

/// Begin to make a passkey. What the browser has made goes to `POST auth/passkeys`.
#[utoipa::path(post, path = paths::PASSKEYS_BEGIN, tag = "auth", security(("bearer" = [])), request_body = Proven,
    responses(
    (status = 200, body = PasskeyQuestion),
    (status = 401, description = "Password or code is wrong, or the passkey"),
    (status = 503, description = "This network's site has no name")))]
pub(super) async fn begin(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<Proven>,
) -> Result<Json<PasskeyQuestion>, Problem> {
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let question = passkeys::begin(&accounts, caller.user_id, &body.into(), address).await;
    Ok(Json(attempt.judge(question)?.into()))
}

/// Add the passkey that was made. Where it is the account's first second factor, the answer has recovery codes, this once, and all
/// other logins end. Sent again, it is answered alike, without the codes.
#[utoipa::path(post, path = paths::PASSKEYS, tag = "auth", security(("bearer" = [])), request_body = NewPasskey,
    responses(
    (status = 201, body = AddedPasskey),
    (status = 400, description = "What the browser sent is no passkey, or not to this question"),
    (status = 401, description = "The question is not open any more"),
    (status = 403, description = "The account has as many as it may; `limit`")))]
pub(super) async fn add(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<NewPasskey>,
) -> Result<(StatusCode, Json<AddedPasskey>), Problem> {
    limits.check_address(address)?;
    let answer = Answer {
        challenge: Zeroizing::new(body.challenge),
        credential: body.credential,
    };
    let (stored, codes) =
        passkeys::add(&accounts, caller.own_session()?, &body.name, &answer).await?;
    let added = AddedPasskey {
        passkey_id: stored.id.as_uuid(),
        name: stored.name,
        created_at: stored.created_at,
        recovery_codes: codes.iter().map(|code| code.to_string()).collect(),
    };
    Ok((StatusCode::CREATED, Json(added)))
}

/// Call a passkey something else.
#[utoipa::path(put, path = paths::PASSKEY, tag = "auth", security(("bearer" = [])), request_body = PasskeyName,
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Renamed"), (status = 404, description = "It is none of the account's")))]
pub(super) async fn rename(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
    Id(id): Id<PasskeyId>,
    Json(body): Json<PasskeyName>,
) -> Result<StatusCode, Problem> {
    match passkeys::rename(&accounts, caller.user_id, id, &body.name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("passkey")),
    }
}

/// Remove a passkey. All other logins of the account end. May be repeated.
#[utoipa::path(delete, path = paths::PASSKEY, tag = "auth", security(("bearer" = [])), request_body = Proven,
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Removed, or not there"),
    (status = 401, description = "Password or code is wrong, or the passkey"),
    (status = 409, description = "It is the last one, and there is no password")))]
pub(super) async fn remove(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Id(id): Id<PasskeyId>,
    Json(body): Json<Proven>,
) -> Result<StatusCode, Problem> {
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let own = caller.own_session()?;
    let removed = passkeys::remove(&accounts, own, id, &body.into(), address).await;
    attempt.judge(removed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give the password up: the account is entered with passkeys alone. All other logins end. A letter (`auth/password/reset`) can
/// set one again.
#[utoipa::path(delete, path = paths::PASSWORD, tag = "auth", security(("bearer" = [])), request_body = PasskeyAnswer,
    responses(
    (status = 204, description = "Given up"),
    (status = 401, description = "The passkey is unknown here or does not hold")))]
pub(super) async fn give_up_password(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<PasskeyAnswer>,
) -> Result<StatusCode, Problem> {
    limits.check_address(address)?;
    passkeys::give_up_password(&accounts, caller.own_session()?, &Answer::from(body)).await?;
    Ok(StatusCode::NO_CONTENT)
}
