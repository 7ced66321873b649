//! `/auth`: accounts, tokens.

use std::sync::Arc;

use api::auth::{Credentials, DeleteAccount, Me, RefreshToken, Registered, Tokens};
use api::paths;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

use super::authorization::{Account, Login, User};
use super::extract::{ClientAddr, FromDevice, Json};
use super::problem::Problem;
use super::rate_limit::{AccountLimits, AuthLimits};
use crate::accounts::auth::AuthError;
use crate::accounts::passkey_check::Answer;
use crate::accounts::profile::profile;
use crate::accounts::second_factor::Shown;
use crate::accounts::{Accounts, auth};
use crate::closing::close::CloseError;
use crate::closing::{Closing, close, export};
use model::names::Email;

/// Open an account.
#[utoipa::path(post, path = paths::REGISTER, tag = "auth", request_body = Credentials, responses(
    (status = 201, body = Registered),
    (status = 409, description = "The address is taken"),
    (status = 429, description = "Too many attempts from this address, or accounts of its network")))]
pub(super) async fn register(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<Credentials>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    limits.check_address(address)?;
    let password = Zeroizing::new(body.password);
    let email = Email::try_from(body.email)?;
    let id = auth::register(&accounts, &email, password, address).await?;
    let registered = Registered {
        user_id: id.as_uuid(),
        email: email.into_string(),
    };
    Ok((StatusCode::CREATED, Json(registered)))
}

impl From<auth::TokenPair> for Tokens {
    fn from(pair: auth::TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: pair.expires_in_seconds,
            refresh_token: pair.refresh_token.to_string(),
        }
    }
}

/// Get an access token and a refresh token.
#[utoipa::path(post, path = paths::LOGIN, tag = "auth", request_body = Credentials, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The address or the password is wrong"),
    (status = 429, description = "Too many attempts from this address, or for this account from it")))]
pub(super) async fn login(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    FromDevice(device): FromDevice,
    Json(body): Json<Credentials>,
) -> Result<Json<Tokens>, Problem> {
    let attempt = limits.check_login(device.address, &body.email)?;
    let password = Zeroizing::new(body.password);
    let pair = auth::login(&accounts, &body.email, password, &device).await;
    Ok(Json(attempt.judge(pair)?.into()))
}

/// Exchange a refresh token for a new pair. Each is good for one exchange: sent again within 30 seconds, because the
/// answer was lost, it gives the same refresh token once more; later it ends the login.
#[utoipa::path(post, path = paths::REFRESH, tag = "auth", request_body = RefreshToken, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The token is unknown, used or expired"),
    (status = 429, description = "Too many exchanges from this address")))]
pub(super) async fn refresh(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    FromDevice(device): FromDevice,
    Json(body): Json<RefreshToken>,
) -> Result<Json<Tokens>, Problem> {
    limits.check_refresh(device.address)?;
    let token = Zeroizing::new(body.refresh_token);
    Ok(Json(
        auth::refresh(&accounts, &token, &device).await?.into(),
    ))
}

/// End the login that a refresh token belongs to.
#[utoipa::path(post, path = paths::LOGOUT, tag = "auth", request_body = RefreshToken, responses(
    (status = 204, description = "Ended, or not known")))]
pub(super) async fn logout(
    State(accounts): State<Arc<Accounts>>,
    Json(body): Json<RefreshToken>,
) -> Result<StatusCode, Problem> {
    let token = Zeroizing::new(body.refresh_token);
    auth::logout(&accounts, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's account.
#[utoipa::path(get, path = paths::ME, tag = "auth", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = Me), (status = 401, description = "No valid access token")))]
pub(super) async fn me(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Account>,
) -> Result<Json<Me>, Problem> {
    let (user, balance) = profile(&accounts, caller.user_id).await?.ok_or_else(|| {
        Problem::unauthorized("The account of this token does not exist any more.")
    })?;
    Ok(Json(Me {
        user_id: user.id.as_uuid(),
        email: user.email,
        role: user.role.name().to_owned(),
        available_microcredits: balance.available,
        held_microcredits: balance.upload_hold,
        escrow_microcredits: balance.escrow,
        forfeited_by_deletion_microcredits: balance.total(),
    }))
}

/// Delete the account, for good: its files go, its credits are forfeited (`GET auth/me` tells how many), and what says
/// whose it was is forgotten. Nodes have to be drained before. Sent again it is 401: there is nobody left.
#[utoipa::path(delete, path = paths::ME, tag = "auth", security(("bearer" = [])), request_body = DeleteAccount,
    responses(
    (status = 204, description = "Deleted"),
    (status = 401, description = "The password, or the passkey, is wrong"),
    (status = 409, description = "Nodes of the account have not left; `nodes`")))]
pub(super) async fn delete(
    State(closing): State<Arc<Closing>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<DeleteAccount>,
) -> Result<StatusCode, Problem> {
    let owner = Shown {
        password: body.password.map(Zeroizing::new),
        code: None,
        passkey: body.passkey.map(Answer::from),
    };
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let closed = close::by_owner(&closing, caller.user_id, &owner, address).await;
    match (closed, attempt.beyond) {
        (Err(CloseError::Auth(AuthError::WrongCredentials)), Some(beyond)) => Err(beyond.into()),
        (closed, _) => closed
            .map(|()| StatusCode::NO_CONTENT)
            .map_err(Problem::from),
    }
}

/// All that is kept about the account: a compressed tar archive of JSON documents. The files themselves are downloaded one
/// by one; the archive lists them.
#[utoipa::path(get, path = paths::EXPORT, tag = "auth", security(("bearer" = [])), responses(
    (status = 200, description = "The archive", content_type = "application/gzip", body = Vec<u8>),
    (status = 429, description = "Too many archives of this account")))]
pub(super) async fn export(
    State(closing): State<Arc<Closing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Login>,
) -> Result<Response, Problem> {
    limits.check_export(caller.user_id)?;
    let pieces = ReceiverStream::new(export::export(&closing, caller.user_id));
    let name = format!("attachment; filename=\"account-{}.tar.gz\"", caller.user_id);
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
