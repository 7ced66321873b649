//! `/nodes/{id}/earnings` and `/nodes/{id}/payouts`: for the node itself, and for its operator.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::{MicroCredits, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Caller, Id, IdempotencyKey, Json, Params};
use super::page::{Page, PageParams};
use super::problem::Problem;
use crate::app::{App, payouts};
use crate::db;
use crate::db::nodes::Node;
use crate::db::penalties::OwnPenalty;
use crate::db::settlement::OwnDay;
use crate::domain::node_pay::{assess, earned};
use crate::domain::uptime::Stretch;

/// Penalties that one answer names, the newest; the sums are always whole.
const PENALTIES_NAMED: i64 = 1000;

/// Why a day paid less than it could have, or a penalty that was given back.
#[derive(Serialize, ToSchema)]
pub struct PenaltyView {
    /// failed, missed, self_reported; given_back for a miss that was forgiven.
    #[schema(example = "missed")]
    kind: String,
    /// What it costs; negative where it is given back.
    amount_microcredits: i64,
    /// What the node could pay of it; the rest is forgiven.
    collected_microcredits: i64,
    /// The blob, when, and what was wrong.
    cause: Value,
}

impl From<OwnPenalty> for PenaltyView {
    fn from(penalty: OwnPenalty) -> Self {
        let sign = if penalty.kind == "given_back" { -1 } else { 1 };
        Self {
            amount_microcredits: sign * penalty.amount.get(),
            collected_microcredits: sign * penalty.collected.get(),
            cause: json!({
                "blob_id": penalty.blob_id.to_string(),
                "at": penalty.at,
                "reason": penalty.reason,
            }),
            kind: penalty.kind,
        }
    }
}

/// What a day came to.
#[derive(Serialize, ToSchema)]
pub struct EarningsDay {
    #[schema(example = "2026-11-21")]
    day: String,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Plaintext bytes held, times seconds; in decimal, it may be long.
    byte_seconds: String,
    /// Byte-seconds times pay, rounded down; the fraction counts tomorrow.
    gross_microcredits: i64,
    uptime_ppm: u32,
    /// Gross after what low uptime costs.
    earned_microcredits: i64,
    penalties: Vec<PenaltyView>,
    /// What all penalties of the day took.
    penalties_microcredits: i64,
    given_back_microcredits: i64,
    /// Penalties that the node could not pay, and need not.
    uncollected_microcredits: i64,
    /// Change of both balances together.
    net_microcredits: i64,
    /// Change of what is held back.
    held_microcredits: i64,
    /// Change of what can be paid out.
    available_microcredits: i64,
    transfer_id: Option<Uuid>,
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
        gross_microcredits: settled.gross.get(),
        uptime_ppm: settled.uptime_ppm,
        earned_microcredits: settled.earned.get(),
        penalties: own.into_iter().map(PenaltyView::from).collect(),
        penalties_microcredits: settled.penalties.get(),
        given_back_microcredits: settled.given_back.get(),
        uncollected_microcredits: settled.uncollected.get(),
        net_microcredits: settled.held.get().saturating_add(settled.available.get()),
        held_microcredits: settled.held.get(),
        available_microcredits: settled.available.get(),
        transfer_id: settled.transfer.map(|id| id.as_uuid()),
    }
}

/// What is not settled yet, as it stands now.
#[derive(Serialize, ToSchema)]
pub struct PendingEarnings {
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Plaintext bytes that earn now.
    bytes: i64,
    byte_seconds: String,
    gross_microcredits: i64,
    uptime_ppm: u32,
    earned_microcredits: i64,
    penalties_microcredits: i64,
    given_back_microcredits: i64,
}

#[derive(Serialize, ToSchema)]
pub struct Earnings {
    pending: PendingEarnings,
    days: Vec<EarningsDay>,
    next_cursor: Option<String>,
}

/// What a node has earned, day by day, the newest first, and of what.
#[utoipa::path(get, path = "/nodes/{id}/earnings", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])),
    params(("id" = Uuid, Path), PageParams), responses(
    (status = 200, body = Earnings),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node")))]
pub async fn earnings(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Earnings>, Problem> {
    let (limit, before) = (page.limit()?, page.position::<i64>()?);
    let node = caller.own_node(&app, id).await?;
    let mut connection = app.db.acquire().await?;
    let pending = pending(&app, &mut connection, &node).await?;
    let rows = db::settlement::days_of_node(&mut connection, id, before, limit as i64 + 1).await?;
    let numbers: Vec<i64> = rows.iter().map(|day| day.day_number).collect();
    let mut penalties =
        db::penalties::of_days(&mut connection, id, &numbers, PENALTIES_NAMED).await?;
    let page = Page::new(
        rows,
        limit,
        |day| day.day_number,
        |day| day_view(day, &mut penalties),
    );
    Ok(Json(Earnings {
        pending,
        days: page.items,
        next_cursor: page.next_cursor,
    }))
}

async fn pending(
    app: &App,
    connection: &mut PgConnection,
    node: &Node,
) -> Result<PendingEarnings, Problem> {
    let pay = app.config.money.pay_per_gb_month;
    let pending = db::settlement::pending(connection, node.id).await?;
    let stretch = Stretch::new(pending.since.max(node.created_at), pending.until);
    let uptime_ppm = db::uptime::uptime_ppm(connection, node.id, stretch).await?;
    let charges = db::penalties::unsettled(connection, node.id, Timestamp::MAX).await?;
    let assessed = assess(&charges, pay).map_err(Problem::internal)?;
    let sum = |list: &[(Uuid, MicroCredits)]| {
        let amounts = list.iter().map(|(_, amount)| *amount);
        MicroCredits::checked_sum(amounts).map_or(i64::MAX, MicroCredits::get)
    };
    let metered = pay.meter(pending.byte_ms, pending.carry);
    let (gross, _) = metered.map_err(Problem::internal)?;
    Ok(PendingEarnings {
        since: pending.since,
        bytes: pending.bytes,
        byte_seconds: (pending.byte_ms / 1000).to_string(),
        gross_microcredits: gross.get(),
        uptime_ppm,
        earned_microcredits: earned(gross, uptime_ppm).get(),
        penalties_microcredits: sum(&assessed.penalties),
        given_back_microcredits: sum(&assessed.given_back),
    })
}

#[derive(Deserialize, ToSchema)]
pub struct PayoutBody {
    /// All that is available when left out.
    amount_microcredits: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct PayoutView {
    payout_id: Uuid,
    transfer_id: Uuid,
    amount_microcredits: i64,
    /// pending, paid or refused; what was refused is available again.
    #[schema(example = "paid")]
    state: &'static str,
}

/// Pay a node out. With an `Idempotency-Key` a repeated request pays nothing more.
#[utoipa::path(post, path = "/nodes/{id}/payouts", tag = "nodes",
    security(("bearer" = []), ("node_api_key" = [])), params(("id" = Uuid, Path)),
    request_body = PayoutBody, responses(
    (status = 201, body = PayoutView),
    (status = 402, description = "That much is not available"),
    (status = 403, description = "The node is somebody else's"),
    (status = 404, description = "No such node"),
    (status = 422, description = "The Idempotency-Key was used for another amount")))]
pub async fn pay_out(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<NodeId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<PayoutBody>,
) -> Result<(StatusCode, Json<PayoutView>), Problem> {
    if body.amount_microcredits.is_some_and(|amount| amount <= 0) {
        return Err(Problem::invalid(
            "`amount_microcredits` must be more than 0.",
        ));
    }
    caller.own_node(&app, id).await?;
    let amount = body.amount_microcredits.map(MicroCredits::new);
    let payout = payouts::request(&app, id, amount, key.as_deref()).await?;
    let view = PayoutView {
        payout_id: payout.id,
        transfer_id: payout.transfer_id.as_uuid(),
        amount_microcredits: payout.amount.get(),
        state: payout.state.name(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}
