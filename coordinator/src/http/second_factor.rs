//! `/auth/second-factor`, and the second half of a login.

use std::sync::Arc;

use api::auth::Tokens;
use api::passkeys::PasskeyAnswer;
use api::paths;
use api::second_factor::{Confirm, Enrolment, LoginCode, Proven, RecoveryCodes, SecondFactor};
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use zeroize::Zeroizing;

use super::authorization::{Login, User};
use super::extract::{ClientAddr, FromDevice, Json};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::accounts::auth::AuthError;
use crate::accounts::passkey_check::Answer;
use crate::accounts::second_factor::Shown;
use crate::accounts::{Accounts, second_factor};

/// What the account has of second factors.
#[utoipa::path(get, path = paths::SECOND_FACTOR, tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = SecondFactor)))]
pub(super) async fn status(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
) -> Result<Json<SecondFactor>, Problem> {
    let status = second_factor::status(&accounts, caller.user_id).await?;
    Ok(Json(SecondFactor {
        totp_since: status.totp_since,
        recovery_codes_left: status.recovery_codes_left,
        passkeys: status.passkeys,
    }))
}

/// Begin with an authenticator app. Nobody is asked for a code before the app has shown one: see `…/confirm`.
#[utoipa::path(post, path = paths::TOTP, tag = "auth", security(("bearer" = [])), request_body = Proven, responses(
    (status = 200, body = Enrolment),
    (status = 401, description = "The password is wrong"),
    (status = 409, description = "There is one already")))]
pub(super) async fn enrol(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<Proven>,
) -> Result<Json<Enrolment>, Problem> {
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let enrolled = second_factor::enrol(&accounts, caller.user_id, &body.into(), address).await;
    let enrolled = attempt.judge(enrolled)?;
    Ok(Json(Enrolment {
        secret: enrolled.secret.to_string(),
        uri: enrolled.uri.to_string(),
    }))
}

/// Show a code of the app. From now on logins are asked for one; all others that there are end. The answer has the recovery codes,
/// this once.
#[utoipa::path(post, path = paths::TOTP_CONFIRM, tag = "auth", security(("bearer" = [])), request_body = Confirm,
    responses(
    (status = 200, body = RecoveryCodes),
    (status = 401, description = "The code is wrong"),
    (status = 409, description = "No app has been begun with, or one is confirmed already")))]
pub(super) async fn confirm(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<Confirm>,
) -> Result<Json<RecoveryCodes>, Problem> {
    limits.check_address(address)?;
    let codes = second_factor::confirm(&accounts, caller.own_session()?, &body.code).await?;
    Ok(Json(shown(&codes)))
}

/// Be asked for codes no more. All other logins of the account end.
#[utoipa::path(delete, path = paths::TOTP, tag = "auth", security(("bearer" = [])), request_body = Proven, responses(
    (status = 204, description = "Removed"),
    (status = 401, description = "Password or code is wrong, or the passkey"),
    (status = 409, description = "There is none")))]
pub(super) async fn remove(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<Proven>,
) -> Result<StatusCode, Problem> {
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let own = caller.own_session()?;
    let removed = second_factor::remove(&accounts, own, &body.into(), address).await;
    attempt.judge(removed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get other recovery codes, in the place of those that there were. Shown this once.
#[utoipa::path(post, path = paths::RECOVERY_CODES, tag = "auth", security(("bearer" = [])), request_body = Proven,
    responses(
    (status = 200, body = RecoveryCodes),
    (status = 401, description = "Password or code is wrong, or the passkey"),
    (status = 409, description = "There is no second factor")))]
pub(super) async fn renew_codes(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<Proven>,
) -> Result<Json<RecoveryCodes>, Problem> {
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let codes = second_factor::renew_codes(&accounts, caller.user_id, &body.into(), address).await;
    Ok(Json(shown(&attempt.judge(codes)?)))
}

/// End a login whose password was right with a code of the app, or a recovery code.
#[utoipa::path(post, path = paths::LOGIN_SECOND_FACTOR, tag = "auth", request_body = LoginCode, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The code is wrong, or the login waits no more"),
    (status = 429, description = "Too many attempts from this address, or wrong codes for this account")))]
pub(super) async fn log_in(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    FromDevice(device): FromDevice,
    Json(body): Json<LoginCode>,
) -> Result<Json<Tokens>, Problem> {
    limits.check_address(device.address)?;
    let (challenge, code) = (Zeroizing::new(body.challenge), Zeroizing::new(body.code));
    let pair = second_factor::log_in(&accounts, &challenge, &code, &device).await?;
    Ok(Json(pair.into()))
}

impl From<PasskeyAnswer> for Answer {
    fn from(answer: PasskeyAnswer) -> Self {
        Self {
            challenge: Zeroizing::new(answer.challenge),
            credential: answer.credential,
        }
    }
}

impl From<Proven> for Shown {
    fn from(proven: Proven) -> Self {
        Self {
            password: proven.password.map(Zeroizing::new),
            code: proven.code.map(Zeroizing::new),
            passkey: proven.passkey.map(Answer::from),
        }
    }
}

fn shown(codes: &[Zeroizing<String>]) -> RecoveryCodes {
    RecoveryCodes {
        recovery_codes: codes.iter().map(|code| code.to_string()).collect(),
    }
}

impl super::rate_limit::Attempt {
    /// A wrong password beyond the limit is answered with that.
    pub(super) fn judge<T>(self, outcome: Result<T, AuthError>) -> Result<T, Problem> {
        match (outcome, self.beyond) {
            (Err(AuthError::WrongCredentials), Some(beyond)) => Err(beyond.into()),
            (outcome, _) => Ok(outcome?),
        }
    }
}
