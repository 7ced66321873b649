//! `/nodes/{id}/earnings` and `/nodes/{id}/payouts`: for the node itself, and for its operator.

use std::sync::Arc;

use api::earnings::{Earnings, EarningsDay, PayoutBody, PayoutView, PenaltyView, PendingEarnings};
use api::page::{Page, PageParams};
use api::paths;
use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use proto::{MicroCredits, NodeId};
use serde_json::json;
use uuid::Uuid;

use super::authorization::{Account, NodeOr};
use super::extract::{Id, IdempotencyKey, Json, Params};
use super::page;
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::billing::earnings::{self, OwnDay, OwnPenalty, Pending};
use crate::billing::payouts::Payout;
use crate::billing::{Billing, payouts};
use crate::fleet::Nodes;

impl From<OwnPenalty> for PenaltyView {
    fn from(penalty: OwnPenalty) -> Self {
        let signed = |amount: MicroCredits| match penalty.kind.as_str() {
            "given_back" => -amount,
            _ => amount,
        };
        Self {
            amount_microcredits: signed(penalty.amount),
            collected_microcredits: signed(penalty.collected),
            cause: json!({
                "blob_id": penalty.blob_id.to_string(),
                "at": penalty.at,
                "reason": penalty.reason,
            }),
            kind: penalty.kind,
        }
    }
}

fn day_view(day: OwnDay, penalties: &mut Vec<OwnPenalty>) -> EarningsDay {
    let (own, others) = penalties
        .drain(..)
        .partition(|penalty| penalty.day_number == day.day_number);
    *penalties = others;
    let own: Vec<OwnPenalty> = own;
    let settled = day.settled;
    EarningsDay {
        day: day.label,
        starts_at: day.starts_at,
        ends_at: day.ends_at,
        byte_seconds: (day.byte_ms / 1000).to_string(),
        gross_microcredits: settled.gross,
        uptime_ppm: settled.uptime_ppm,
        earned_microcredits: settled.earned,
        penalties: own.into_iter().map(PenaltyView::from).collect(),
        penalties_microcredits: settled.penalties,
        given_back_microcredits: settled.given_back,
        uncollected_microcredits: settled.uncollected,
        net_microcredits: MicroCredits::new(
            settled.held.get().saturating_add(settled.available.get()),
        ),
        held_microcredits: settled.held,
        available_microcredits: settled.available,
        transfer_id: settled.transfer.map(|id| id.as_uuid()),
    }
}

/// What a node has earned, day by day, the newest first, and of what.
#[utoipa::path(get, path = paths::NODE_EARNINGS, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Earnings),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub(super) async fn earnings(
    State(billing): State<Arc<Billing>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Earnings>, Problem> {
    let (limit, before) = (page::limit(&params)?, page::position::<i64>(&params)?);
    let node = caller.own_node(&nodes, id).await?;
    let mut earnings = earnings::earnings(&billing, &node, before, limit as i64 + 1)
        .await
        .map_err(Problem::internal)?;
    let Page { items, next_cursor } = page::of(
        earnings.days,
        limit,
        |day| day.day_number,
        |day| day_view(day, &mut earnings.penalties),
    );
    Ok(Json(Earnings {
        pending: pending_view(&earnings.pending),
        days: items,
        next_cursor,
    }))
}

fn pending_view(pending: &Pending) -> PendingEarnings {
    PendingEarnings {
        since: pending.since,
        bytes: pending.bytes,
        byte_seconds: (pending.byte_ms / 1000).to_string(),
        gross_microcredits: pending.gross,
        uptime_ppm: pending.uptime_ppm,
        earned_microcredits: pending.earned,
        penalties_microcredits: pending.penalties,
        given_back_microcredits: pending.given_back,
    }
}

/// Pay a node out. With an `Idempotency-Key` a repeated request pays nothing more.
#[utoipa::path(post, path = paths::NODE_PAYOUTS, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)),
    request_body = PayoutBody, responses(
    (status = 201, body = PayoutView),
    (status = 402, description = "That much is not available"),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node"),
    (status = 409, description = "There is nobody to pay: the node's operator has set no payout destination"),
    (status = 422, description = "The Idempotency-Key was used for another amount"),
    (status = 429, description = "Too many payouts of this node"),
    (status = 503, description = "The network has no payment provider")))]
pub(super) async fn pay_out(
    State(billing): State<Arc<Billing>>,
    State(nodes): State<Arc<Nodes>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PayoutBody>,
) -> Result<(StatusCode, Json<PayoutView>), Problem> {
    if body
        .amount_microcredits
        .is_some_and(|amount| !amount.is_positive())
    {
        return Err(Problem::invalid(
            "`amount_microcredits` must be more than 0.",
        ));
    }
    let operator = caller.own_node(&nodes, id).await?.operator;
    limits.check_payout(id)?;
    let amount = body.amount_microcredits;
    let payout = payouts::request(&billing, (id, operator), amount, key.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(payout_view(payout))))
}

fn payout_view(payout: Payout) -> PayoutView {
    PayoutView {
        payout_id: payout.id,
        transfer_id: payout.transfer_id.as_uuid(),
        amount_microcredits: payout.amount,
        state: payout.state.name().to_owned(),
        provider: payout.provider,
        created_at: Some(payout.created_at),
        reason: payout.reason,
    }
}

/// A node's payouts, the newest first.
#[utoipa::path(get, path = paths::NODE_PAYOUTS, tag = "nodes",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Page<PayoutView>),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub(super) async fn payouts(
    State(billing): State<Arc<Billing>>,
    State(nodes): State<Arc<Nodes>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Id(id): Id<NodeId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<PayoutView>>, Problem> {
    let (limit, before) = (page::limit(&params)?, page::position::<Uuid>(&params)?);
    caller.own_node(&nodes, id).await?;
    let rows = payouts::list(&billing, id, before, limit as i64 + 1).await?;
    Ok(Json(page::of(rows, limit, |row| row.id, payout_view)))
}
