//! `/auth/password` and `/auth/verify`: other passwords, and addresses that are shown to be one's own.

use std::sync::Arc;

use api::auth::{AddressToken, NewPassword, PasswordReset, ResetRequest};
use api::paths;
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use zeroize::Zeroizing;

use super::authorization::{Login, User};
use super::extract::{ClientAddr, Json};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::accounts::auth::AuthError;
use crate::accounts::letters::Order;
use crate::accounts::{Accounts, auth, recovery};
use model::names::Email;

/// Change the password. Every other login of the account ends with that: whoever knew the old password is out. May be
/// repeated.
#[utoipa::path(post, path = paths::PASSWORD, tag = "auth", security(("bearer" = [])), request_body = NewPassword,
    responses(
    (status = 204, description = "Changed"),
    (status = 400, description = "The new password is too short, too long or too common"),
    (status = 401, description = "The current password is wrong"),
    (status = 429, description = "Too many attempts from this address, or for this account from it")))]
pub(super) async fn change(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    let (current, new) = (
        Zeroizing::new(body.current_password),
        Zeroizing::new(body.new_password),
    );
    let attempt = limits.check_login(address, &caller.user_id.to_string())?;
    let own = caller.own_session()?;
    let changed = auth::change_password(&accounts, own, current, new, address).await;
    attempt.judge(changed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a letter sent to whoever has forgotten his password. The answer is the same whether the address is an account's or
/// not.
#[utoipa::path(post, path = paths::PASSWORD_RESET_REQUEST, tag = "auth", request_body = ResetRequest, responses(
    (status = 202, description = "If there is such an account, a letter is on its way"),
    (status = 429, description = "Too many attempts from this address"),
    (status = 503, description = "This network sends no mail: ask its operator")))]
pub(super) async fn request_reset(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<ResetRequest>,
) -> Result<StatusCode, Problem> {
    limits.check_letter(address)?;
    let email = Email::try_from(body.email)?;
    let ordered = accounts.order_letter(Order::Reset(email));
    ordered.map_err(AuthError::from)?;
    Ok(StatusCode::ACCEPTED)
}

/// Set another password with the token of a letter, or of an administrator's link. Every login of the account ends with
/// that. The token is good once; sent again with the same password, it is answered alike.
#[utoipa::path(post, path = paths::PASSWORD_RESET, tag = "auth", request_body = PasswordReset, responses(
    (status = 204, description = "Changed: log in with it"),
    (status = 400, description = "The new password is too short, too long or too common"),
    (status = 401, description = "The token is unknown, used or expired"),
    (status = 429, description = "Too many attempts from this address")))]
pub(super) async fn reset(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<PasswordReset>,
) -> Result<StatusCode, Problem> {
    limits.check_address(address)?;
    let (token, new) = (
        Zeroizing::new(body.token),
        Zeroizing::new(body.new_password),
    );
    recovery::reset_password(&accounts, &token, new, address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show that the account's address is one's own, with the token of the letter. May be repeated.
#[utoipa::path(post, path = paths::VERIFY, tag = "auth", request_body = AddressToken, responses(
    (status = 204, description = "Verified"),
    (status = 401, description = "The token is unknown, used or expired"),
    (status = 429, description = "Too many attempts from this address")))]
pub(super) async fn verify(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<AddressToken>,
) -> Result<StatusCode, Problem> {
    limits.check_address(address)?;
    let token = Zeroizing::new(body.token);
    recovery::verify_address(&accounts, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have the letter sent once more that shows whose the address is.
#[utoipa::path(post, path = paths::VERIFY_REQUEST, tag = "auth", security(("bearer" = [])), responses(
    (status = 202, description = "A letter is on its way, unless there were three within the hour"),
    (status = 429, description = "Too many attempts from this address"),
    (status = 503, description = "This network sends no mail")))]
pub(super) async fn request_verification(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Login>,
) -> Result<StatusCode, Problem> {
    limits.check_letter(address)?;
    let ordered = accounts.order_letter(Order::Verify(caller.user_id));
    ordered.map_err(AuthError::from)?;
    Ok(StatusCode::ACCEPTED)
}
