//! `/auth`: accounts, tokens, credits.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::extract::{ClientAddr, IdempotencyKey, Json, User};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::app::{App, auth, credits};
use crate::db;
use crate::domain::money::UsdCents;
use crate::domain::names::{self, Email};

#[derive(Deserialize, ToSchema)]
pub struct Credentials {
    #[schema(example = "test@example.com")]
    email: String,
    /// 7 to 1024 characters.
    #[schema(example = "test123")]
    password: String,
}

#[derive(Serialize, ToSchema)]
pub struct Registered {
    user_id: Uuid,
    email: String,
}

/// Open an account.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = Credentials, responses(
    (status = 201, body = Registered),
    (status = 409, description = "The address is taken"),
    (status = 429, description = "Too many attempts from this address")))]
pub async fn register(
    State(app): State<Arc<App>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<Credentials>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    limits.check_address(address)?;
    let password = Zeroizing::new(body.password);
    let email = Email::try_from(body.email)?;
    names::check_password(&password)?;
    let id = auth::register(&app, &email, password, address).await?;
    let registered = Registered {
        user_id: id.as_uuid(),
        email: email.into_string(),
    };
    Ok((StatusCode::CREATED, Json(registered)))
}

#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// Goes into `Authorization: Bearer …`.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    expires_in: u64,
    /// Good for one `auth/refresh`.
    refresh_token: String,
}

impl From<auth::TokenPair> for Tokens {
    fn from(pair: auth::TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer",
            expires_in: pair.expires_in_seconds,
            refresh_token: pair.refresh_token.to_string(),
        }
    }
}

/// Get an access token and a refresh token.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Credentials, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The address or the password is wrong"),
    (status = 429, description = "Too many attempts from this address or for this account")))]
pub async fn login(
    State(app): State<Arc<App>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Json(body): Json<Credentials>,
) -> Result<Json<Tokens>, Problem> {
    limits.check_address(address)?;
    limits.check_account(&body.email)?;
    let password = Zeroizing::new(body.password);
    let pair = auth::login(&app, &body.email, password).await?;
    Ok(Json(pair.into()))
}

#[derive(Deserialize, ToSchema)]
pub struct RefreshToken {
    refresh_token: String,
}

/// Exchange a refresh token for a new pair. Each can be used once; a second use ends the login.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshToken, responses(
    (status = 200, body = Tokens),
    (status = 401, description = "The token is unknown, used or expired")))]
pub async fn refresh(
    State(app): State<Arc<App>>,
    Json(body): Json<RefreshToken>,
) -> Result<Json<Tokens>, Problem> {
    let token = Zeroizing::new(body.refresh_token);
    Ok(Json(auth::refresh(&app, &token).await?.into()))
}

/// End the login that a refresh token belongs to.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", request_body = RefreshToken, responses(
    (status = 204, description = "Ended, or not known")))]
pub async fn logout(
    State(app): State<Arc<App>>,
    Json(body): Json<RefreshToken>,
) -> Result<StatusCode, Problem> {
    let token = Zeroizing::new(body.refresh_token);
    auth::logout(&app, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An account and its credits. 1 credit = 1,000,000 micro-credits.
#[derive(Serialize, ToSchema)]
pub struct Me {
    user_id: Uuid,
    email: String,
    role: &'static str,
    available_microcredits: i64,
    /// For uploads under way.
    held_microcredits: i64,
    /// Paid in advance for stored files.
    escrow_microcredits: i64,
}

/// The caller's account.
#[utoipa::path(get, path = "/auth/me", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = Me), (status = 401, description = "No valid access token")))]
pub async fn me(State(app): State<Arc<App>>, User(caller): User) -> Result<Json<Me>, Problem> {
    let mut connection = app.db.acquire().await?;
    let user = db::users::by_id(&mut connection, caller.user_id)
        .await?
        .ok_or_else(|| {
            Problem::unauthorized("The account of this token does not exist any more.")
        })?;
    let balance = db::ledger::user_balance(&mut connection, user.id).await?;
    Ok(Json(Me {
        user_id: user.id.as_uuid(),
        email: user.email,
        role: user.role.name(),
        available_microcredits: balance.available.get(),
        held_microcredits: balance.upload_hold.get(),
        escrow_microcredits: balance.escrow.get(),
    }))
}

#[derive(Deserialize, ToSchema)]
pub struct PurchaseBody {
    /// At most two decimals, up to 1,000,000. A number, or text.
    #[schema(value_type = f64, example = 10)]
    amount_usd: Box<serde_json::value::RawValue>,
}

impl PurchaseBody {
    /// Read from the JSON text itself: a float in between could round.
    fn amount(&self) -> Result<UsdCents, Problem> {
        let text = self.amount_usd.get();
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text);
        text.parse()
            .map_err(|error| Problem::invalid(format!("`amount_usd`: {error}.")))
    }
}

#[derive(Serialize, ToSchema)]
pub struct Purchased {
    transfer_id: Uuid,
    credited_microcredits: i64,
    available_microcredits: i64,
}

/// Buy credits. With an `Idempotency-Key` a repeated request charges nothing more.
#[utoipa::path(post, path = "/auth/credits/purchase", tag = "credits", security(("bearer" = [])),
    request_body = PurchaseBody, responses(
    (status = 201, body = Purchased),
    (status = 422, description = "The Idempotency-Key was used for another amount")))]
pub async fn purchase(
    State(app): State<Arc<App>>,
    User(caller): User,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PurchaseBody>,
) -> Result<(StatusCode, Json<Purchased>), Problem> {
    let amount = body.amount()?;
    let purchase = credits::purchase(&app, caller.user_id, amount, key.as_deref()).await?;
    let purchased = Purchased {
        transfer_id: purchase.transfer_id.as_uuid(),
        credited_microcredits: purchase.credited.get(),
        available_microcredits: purchase.available.get(),
    };
    Ok((StatusCode::CREATED, Json(purchased)))
}
