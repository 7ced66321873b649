//! Money in and out: purchases, whom payouts go to, and what the payment provider tells by itself.

use std::sync::Arc;

use api::credits::{PurchaseBody, Purchased, UsdAmount};
use api::earnings::{PayoutDestination, PayoutDestinationBody};
use api::paths;
use axum::Extension;
use axum::extract::{Request, State};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use model::money::UsdCents;
use model::payment::PurchaseState;
use uuid::Uuid;

use super::authorization::{Account, User};
use super::extract::{Id, IdempotencyKey, Json, OptionalJson};
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::billing::destinations::Shown;
use crate::billing::purchases::Bought;
use crate::billing::{Billing, destinations, purchases, webhook};

/// Events are small; Stripe's largest are a few dozen KiB.
const MAX_EVENT_BYTES: usize = 256 * 1024;

fn cents(amount: &UsdAmount) -> Result<UsdCents, Problem> {
    let cents = amount.as_str().parse();
    cents.map_err(|error| Problem::invalid(format!("`amount_usd`: {error}.")))
}

fn provider_of(billing: &Billing) -> String {
    let provider = billing.provider();
    provider.map_or_else(|_| String::new(), |provider| provider.name().to_string())
}

fn purchased(billing: &Billing, bought: Bought) -> Purchased {
    Purchased {
        transfer_id: bought.transfer_id.map(|id| id.as_uuid()),
        credited_microcredits: bought.credited,
        available_microcredits: bought.available,
        purchase_id: bought.purchase_id,
        state: bought.state.name().to_owned(),
        provider: provider_of(billing),
        client_secret: bought.client_secret.map(|secret| secret.0),
        reason: bought.reason,
    }
}

/// Buy credits. With an `Idempotency-Key` a repeated request charges nothing more, and answers how the purchase stands.
/// 202: the customer has yet to pay, with `client_secret` and the provider's own script.
#[utoipa::path(post, path = paths::PURCHASE, tag = "credits", security(("bearer" = [])),
    request_body = PurchaseBody, responses(
    (status = 201, body = Purchased), (status = 202, body = Purchased),
    (status = 402, description = "The payment was refused"),
    (status = 403, description = "Too many purchases of this account are not paid yet"),
    (status = 422, description = "The Idempotency-Key was used for another amount"),
    (status = 429, description = "Too many purchases of this account"),
    (status = 503, description = "The network has no payment provider")))]
pub(super) async fn purchase(
    State(billing): State<Arc<Billing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PurchaseBody>,
) -> Result<(StatusCode, Json<Purchased>), Problem> {
    let amount = cents(&body.amount_usd)?;
    limits.check_purchase(caller.user_id)?;
    let bought = purchases::purchase(&billing, caller.user_id, amount, key.as_deref()).await?;
    let status = match bought.state {
        PurchaseState::Pending => StatusCode::ACCEPTED,
        _ => StatusCode::CREATED,
    };
    Ok((status, Json(purchased(&billing, bought))))
}

/// How a purchase of the caller's stands; the provider is asked for one that is pending.
#[utoipa::path(get, path = paths::PURCHASE_STATUS, tag = "credits", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 200, body = Purchased), (status = 404, description = "No such purchase of the caller")))]
pub(super) async fn purchase_status(
    State(billing): State<Arc<Billing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
    Id(id): Id<Uuid>,
) -> Result<Json<Purchased>, Problem> {
    limits.check_purchase(caller.user_id)?;
    let bought = purchases::one(&billing, caller.user_id, id).await?;
    let bought = bought.ok_or_else(|| Problem::not_found("purchase"))?;
    Ok(Json(purchased(&billing, bought)))
}

/// For the payment provider: something has happened. The body is checked byte for byte against its signature, and believed
/// for nothing but what to look at.
#[utoipa::path(post, path = paths::PAYMENT_WEBHOOK, tag = "service",
    request_body(content = String, content_type = "application/json"), responses(
    (status = 200, description = "Taken, or of no meaning here"),
    (status = 400, description = "It is not the provider's"),
    (status = 503, description = "It is to be sent again")))]
pub(super) async fn payment_webhook(
    State(billing): State<Arc<Billing>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let name = webhook::signature_header(&billing)?;
    let signature = request.headers().get(name).cloned();
    let body = Limited::new(request.into_body(), MAX_EVENT_BYTES).collect();
    let body = body.await.map_err(|error| {
        Problem::invalid(format!(
            "An event has at most {MAX_EVENT_BYTES} bytes, and comes whole: {error}."
        ))
    })?;
    let signature = signature.as_ref().and_then(|value| value.to_str().ok());
    webhook::take(&billing, signature, &body.to_bytes()).await?;
    Ok(StatusCode::OK)
}

/// Say whom the caller's nodes are paid to. The answer leads to the provider's page on which the owner goes on, as long as
/// it is not ready. Repeating it changes nothing, and gives another page.
#[utoipa::path(put, path = paths::PAYOUT_DESTINATION, tag = "nodes", security(("bearer" = [])),
    request_body = PayoutDestinationBody, responses(
    (status = 200, body = PayoutDestination),
    (status = 402, description = "The provider refused it"),
    (status = 429, description = "Too many changes by this account"),
    (status = 503, description = "The network has no payment provider, or it is away")))]
pub(super) async fn put_destination(
    State(billing): State<Arc<Billing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
    OptionalJson(body): OptionalJson<PayoutDestinationBody>,
) -> Result<Json<PayoutDestination>, Problem> {
    let country = body.unwrap_or_default().country;
    let is_country =
        |text: &String| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    if country.as_ref().is_some_and(|text| !is_country(text)) {
        return Err(Problem::invalid(
            "`country` is two capital letters, as ISO 3166 has them: DE, US.",
        ));
    }
    limits.check_destination(caller.user_id)?;
    let Shown {
        destination,
        onboarding_url,
    } = destinations::put(&billing, caller.user_id, country.as_deref()).await?;
    Ok(Json(PayoutDestination {
        provider: destination.provider,
        ready: destination.ready,
        country: destination.country,
        onboarding_url,
    }))
}

/// Whom the caller's nodes are paid to, as it stands with the provider now.
#[utoipa::path(get, path = paths::PAYOUT_DESTINATION, tag = "nodes", security(("bearer" = [])), responses(
    (status = 200, body = PayoutDestination), (status = 404, description = "There is none"),
    (status = 503, description = "The network has no payment provider, or it is away")))]
pub(super) async fn get_destination(
    State(billing): State<Arc<Billing>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    User(caller, ..): User<Account>,
) -> Result<Json<PayoutDestination>, Problem> {
    limits.check_destination(caller.user_id)?;
    let destination = destinations::get(&billing, caller.user_id).await?;
    Ok(Json(PayoutDestination {
        provider: destination.provider,
        ready: destination.ready,
        country: destination.country,
        onboarding_url: None,
    }))
}

/// Forget whom the caller's nodes are paid to. What the provider knows stays with it; payouts that are under way go on.
#[utoipa::path(delete, path = paths::PAYOUT_DESTINATION, tag = "nodes", security(("bearer" = [])), responses(
    (status = 204, description = "Forgotten"), (status = 404, description = "There is none")))]
pub(super) async fn delete_destination(
    State(billing): State<Arc<Billing>>,
    User(caller, ..): User<Account>,
) -> Result<StatusCode, Problem> {
    destinations::delete(&billing, caller.user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
