//! `/nodes/{id}/earnings` and `/nodes/{id}/payouts`: for the node itself, and for its operator.

use std::sync::Arc;

use api::earnings::{Earnings, EarningsDay, PayoutBody, PayoutView, PenaltyView, PendingEarnings};
use api::page::{Page, PageParams};
use api::paths;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::{MicroCredits, NodeId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::extract::{Caller, Id, IdempotencyKey, Json, Params};
use super::page;
use super::problem::Problem;
use crate::billing;
use crate::billing::Billing;
use crate::billing::payouts;
use crate::fleet;
use crate::fleet::Nodes;

use crate::billing::rules::node_pay::{assess, earned};
use crate::billing::tables::penalties::OwnPenalty;
use crate::billing::tables::settlement::OwnDay;
use crate::fleet::rules::uptime::Stretch;
use crate::model::node::Node;

/// Penalties that one answer names, the newest; the sums are always whole.
const PENALTIES_NAMED: i64 = 1000;

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
    security(("bearer" = []), ("node_api_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Earnings),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub(super) async fn earnings(
    State(billing): State<Arc<Billing>>,
    State(nodes): State<Arc<Nodes>>,
    caller: Caller,
    Id(id): Id<NodeId>,
    Params(params): Params<PageParams>,
) -> Result<Json<Earnings>, Problem> {
    let (limit, before) = (page::limit(&params)?, page::position::<i64>(&params)?);
    let node = caller.own_node(&nodes, id).await?;
    let mut connection = billing.db.acquire().await?;
    let pending = pending(&billing, &mut connection, &node).await?;
    let rows =
        billing::tables::settlement::days_of_node(&mut connection, id, before, limit as i64 + 1)
            .await?;
    let numbers: Vec<i64> = rows.iter().map(|day| day.day_number).collect();
    let mut penalties =
        billing::tables::penalties::of_days(&mut connection, id, &numbers, PENALTIES_NAMED).await?;
    let Page { items, next_cursor } = page::of(
        rows,
        limit,
        |day| day.day_number,
        |day| day_view(day, &mut penalties),
    );
    Ok(Json(Earnings {
        pending,
        days: items,
        next_cursor,
    }))
}

async fn pending(
    billing: &Billing,
    connection: &mut PgConnection,
    node: &Node,
) -> Result<PendingEarnings, Problem> {
    let pay = billing.money.pay_per_gb_month;
    let pending = billing::tables::settlement::pending(connection, node.id).await?;
    let stretch = Stretch::new(pending.since.max(node.created_at), pending.until);
    let uptime_ppm = fleet::tables::uptime::uptime_ppm(connection, node.id, stretch).await?;
    let charges =
        billing::tables::penalties::unsettled(connection, node.id, Timestamp::MAX).await?;
    let assessed = assess(&charges, pay).map_err(Problem::internal)?;
    let sum = |list: &[(Uuid, MicroCredits)]| {
        let amounts = list.iter().map(|(_, amount)| *amount);
        MicroCredits::checked_sum(amounts).unwrap_or(MicroCredits::new(i64::MAX))
    };
    let metered = pay.meter(pending.byte_ms, pending.carry);
    let (gross, _) = metered.map_err(Problem::internal)?;
    Ok(PendingEarnings {
        since: pending.since,
        bytes: pending.bytes,
        byte_seconds: (pending.byte_ms / 1000).to_string(),
        gross_microcredits: gross,
        uptime_ppm,
        earned_microcredits: earned(gross, uptime_ppm),
        penalties_microcredits: sum(&assessed.penalties),
        given_back_microcredits: sum(&assessed.given_back),
    })
}

/// Pay a node out. With an `Idempotency-Key` a repeated request pays nothing more.
#[utoipa::path(post, path = paths::NODE_PAYOUTS, tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)),
    request_body = PayoutBody, responses(
    (status = 201, body = PayoutView),
    (status = 402, description = "That much is not available"),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node"),
    (status = 422, description = "The Idempotency-Key was used for another amount")))]
pub(super) async fn pay_out(
    State(billing): State<Arc<Billing>>,
    State(nodes): State<Arc<Nodes>>,
    caller: Caller,
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
    caller.own_node(&nodes, id).await?;
    let amount = body.amount_microcredits;
    let payout = payouts::request(&billing, id, amount, key.as_deref()).await?;
    let view = PayoutView {
        payout_id: payout.id,
        transfer_id: payout.transfer_id.as_uuid(),
        amount_microcredits: payout.amount,
        state: payout.state.name().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}
