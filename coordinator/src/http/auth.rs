//! `/auth`: accounts, tokens, credits.

use std::sync::Arc;

use api::auth::{Credentials, Me, NewPassword, RefreshToken, Registered, Tokens};
use api::credits::{PurchaseBody, Purchased, UsdAmount};
use api::paths;
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use zeroize::Zeroizing;

use super::authorization::{Account, Login, User};
use super::extract::{ClientAddr, FromDevice, IdempotencyKey, Json};
use super::problem::Problem;
use super::rate_limit::{AccountLimits, AuthLimits};
use crate::accounts::auth::AuthError;
use crate::accounts::profile::profile;
use crate::accounts::{Accounts, auth};
use crate::billing::{Billing, credits};
use model::money::UsdCents;
use model::names;
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
    names::check_password(&password)?;
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
    match (
        auth::login(&accounts, &body.email, password, &device).await,
        attempt.beyond,
    ) {
        (Err(AuthError::WrongCredentials), Some(beyond)) => Err(beyond.into()),
        (pair, _) => Ok(Json(pair?.into())),
    }
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

/// Change the password. Every login of the account ends with that, and the answer is a new one: whoever knew the old password is out
/// at once.
#[utoipa::path(post, path = paths::PASSWORD, tag = "auth", security(("bearer" = [])), request_body = NewPassword,
    responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The current password is wrong"),
    (status = 429, description = "Too many attempts from this address, or for this account from it")))]
pub(super) async fn password(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    FromDevice(device): FromDevice,
    User(caller, ..): User<Login>,
    Json(body): Json<NewPassword>,
) -> Result<Json<Tokens>, Problem> {
    let (current, new) = (
        Zeroizing::new(body.current_password),
        Zeroizing::new(body.new_password),
    );
    names::check_password(&new)?;
    let attempt = limits.check_login(device.address, &caller.user_id.to_string())?;
    let changed = auth::change_password(&accounts, caller.user_id, current, new, &device).await;
    match (changed, attempt.beyond) {
        (Err(AuthError::WrongCredentials), Some(beyond)) => Err(beyond.into()),
        (pair, _) => Ok(Json(pair?.into())),
    }
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
    }))
}

fn cents(amount: &UsdAmount) -> Result<UsdCents, Problem> {
    let cents = amount.as_str().parse();
    cents.map_err(|error| Problem::invalid(format!("`amount_usd`: {error}.")))
}

/// Buy credits. With an `Idempotency-Key` a repeated request charges nothing more.
#[utoipa::path(post, path = paths::PURCHASE, tag = "credits", security(("bearer" = []), ("access_key" = [])),
    request_body = PurchaseBody, responses(
    (status = 201, body = Purchased),
    (status = 422, description = "The Idempotency-Key was used for another amount"),
    (status = 429, description = "Too many purchases of this account")))]
pub(super) async fn purchase(
    State(billing): State<Arc<Billing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PurchaseBody>,
) -> Result<(StatusCode, Json<Purchased>), Problem> {
    let amount = cents(&body.amount_usd)?;
    limits.check_purchase(caller.user_id)?;
    let purchase = credits::purchase(&billing, caller.user_id, amount, key.as_deref()).await?;
    let purchased = Purchased {
        transfer_id: purchase.transfer_id.as_uuid(),
        credited_microcredits: purchase.credited,
        available_microcredits: purchase.available,
    };
    Ok((StatusCode::CREATED, Json(purchased)))
}
