//! `/access-keys`: what programs sign in with.

use std::sync::Arc;

use api::access_keys::{AccessKey, AccessKeys, NewAccessKey};
use api::paths;
use axum::Extension;
use axum::extract::State;
use credentials::access_key::AllowedAddresses;
use credentials::scope::Scopes;
use credentials::wanted::{self, Wanted};
use http::{HeaderName, StatusCode, header};

use super::authorization::{Login, User};
use super::extract::{Id, IdempotencyKey, Json};
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::accounts::stored_key::StoredKey;
use crate::accounts::{Accounts, access_keys};

/// Make an access key. Its secret is in this answer and in no other; with an `Idempotency-Key` the same request gives
/// the same answer for an hour.
#[utoipa::path(post, path = paths::ACCESS_KEYS, tag = "access keys", security(("bearer" = [])),
    request_body = NewAccessKey, responses(
    (status = 201, body = AccessKey),
    (status = 403, description = "The account has as many keys as it may, or a key asks for another"),
    (status = 422, description = "The Idempotency-Key was used for another key, or longer than an hour ago")))]
pub(super) async fn create(
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Login>,
    IdempotencyKey(idempotency): IdempotencyKey,
    Json(body): Json<NewAccessKey>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<AccessKey>), Problem> {
    let wanted = wanted(body)?.check(accounts.clock.now())?;
    limits.check_access_key(caller.user_id)?;
    let made = access_keys::create(&accounts, caller.user_id, &wanted, idempotency.as_deref());
    let (key, secret) = made.await?;
    let location = [(header::LOCATION, paths::access_key(key.id))];
    let key = AccessKey {
        secret_access_key: Some(secret.expose().to_owned()),
        ..view(key)
    };
    Ok((StatusCode::CREATED, location, Json(key)))
}

/// The account's access keys, the newest first.
#[utoipa::path(get, path = paths::ACCESS_KEYS, tag = "access keys", security(("bearer" = [])), responses(
    (status = 200, body = AccessKeys)))]
pub(super) async fn list(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
) -> Result<Json<AccessKeys>, Problem> {
    let keys = access_keys::list(&accounts, caller.user_id).await?;
    let items = keys.into_iter().map(view).collect();
    Ok(Json(AccessKeys { items }))
}

/// Revoke an access key: it is refused at once.
#[utoipa::path(delete, path = paths::ACCESS_KEY, tag = "access keys", security(("bearer" = [])),
    params(("access_key_id" = String, Path)), responses(
    (status = 204, description = "Revoked, now or within the last day"),
    (status = 404, description = "The account has no such key")))]
pub(super) async fn revoke(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
    Id(id): Id<String>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found("access key"))?;
    access_keys::revoke(&accounts, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn wanted(body: NewAccessKey) -> Result<Wanted, Problem> {
    let text = serde_json::to_vec(&body).map_err(Problem::internal)?;
    Ok(Wanted {
        request_hash: blake3::derive_key("fsn access key request v1", &text),
        name: body.name,
        scopes: Scopes::named(&body.scopes)?,
        bucket: body.bucket,
        prefix: body.prefix,
        expires_at: body.expires_at,
        allowed: AllowedAddresses::parse(&body.allowed_addresses)?,
        s3: body.s3,
        bytes_per_day: body.bytes_per_day,
        spend_per_day: body.credits_per_day.map(wanted::credits).transpose()?,
    })
}

fn view(key: StoredKey) -> AccessKey {
    AccessKey {
        access_key_id: key.id.to_string(),
        secret_access_key: None,
        name: key.name,
        scopes: key.scopes.names(),
        bucket: key.bucket,
        prefix: key.prefix,
        created_at: key.created_at,
        expires_at: key.expires_at,
        allowed_addresses: key.allowed.texts(),
        s3: key.wrapped.is_some(),
        bytes_per_day: key.bytes_per_day,
        credits_per_day: key.spend_per_day.map(wanted::to_credits),
        last_used_at: key.last_use.at(),
        last_used_address: key.last_used_address,
    }
}
