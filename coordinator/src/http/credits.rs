//! `/balance` and `/credits`.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Caller, Json, Params};
use super::page::{Page, PageParams};
use super::problem::Problem;
use crate::app::App;
use crate::db;
use crate::domain::ids::TransferId;

/// What an account has. 1 credit = 1,000,000 micro-credits.
#[derive(Serialize, ToSchema)]
pub struct Balance {
    #[schema(example = "user")]
    owner: &'static str,
    available_microcredits: i64,
    held_microcredits: i64,
    /// Users only: paid in advance for stored files.
    #[serde(skip_serializing_if = "Option::is_none")]
    escrow_microcredits: Option<i64>,
}

/// The user's balance (bearer token) or the node's (`X-API-Key`).
#[utoipa::path(get, path = "/balance", tag = "credits",
    security(("bearer" = []), ("node_api_key" = [])), responses(
    (status = 200, body = Balance), (status = 401, description = "Neither token nor key is valid")))]
pub async fn balance(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Balance>, Problem> {
    let mut connection = app.db.acquire().await?;
    let balance = match caller {
        Caller::User(user) => {
            let balance = db::ledger::user_balance(&mut connection, user.user_id).await?;
            Balance {
                owner: "user",
                available_microcredits: balance.available.get(),
                held_microcredits: balance.upload_hold.get(),
                escrow_microcredits: Some(balance.escrow.get()),
            }
        }
        Caller::Node(node) => {
            let balances = db::ledger::node_balances(&mut connection, &[node.id]).await?;
            let balance = balances.first();
            Balance {
                owner: "node",
                available_microcredits: balance.map_or(0, |balance| balance.available.get()),
                held_microcredits: balance.map_or(0, |balance| balance.held.get()),
                escrow_microcredits: None,
            }
        }
    };
    Ok(Json(balance))
}

#[derive(Serialize, ToSchema)]
pub struct Transaction {
    transfer_id: Uuid,
    #[schema(example = "purchase")]
    kind: String,
    /// What `available` gained or lost.
    amount_microcredits: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    cause: serde_json::Value,
    /// BLAKE3 of the transfer, 64 hex digits.
    hash: String,
    /// The ledger block that it is sealed in; `null` for up to a second or two.
    block: Option<i64>,
}

/// The caller's transfers, newest first.
#[utoipa::path(get, path = "/credits/transactions", tag = "credits",
    security(("bearer" = []), ("node_api_key" = [])), params(PageParams), responses(
    (status = 200, body = Page<Transaction>)))]
pub async fn transactions(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<Transaction>>, Problem> {
    let (limit, before) = (page.limit()?, page.position::<TransferId>()?);
    let owner = match caller {
        Caller::User(user) => user.user_id.as_uuid(),
        Caller::Node(node) => node.id.as_uuid(),
    };
    let mut connection = app.db.acquire().await?;
    let rows = db::ledger::transfers_of(&mut connection, owner, before, limit as i64 + 1).await?;
    let transaction = |row: db::ledger::OwnTransfer| Transaction {
        transfer_id: row.id.as_uuid(),
        kind: row.kind,
        amount_microcredits: row.amount.get(),
        at: row.at,
        cause: row.cause,
        hash: hex::encode(row.hash),
        block: row.block,
    };
    Ok(Json(Page::new(rows, limit, |row| row.id, transaction)))
}
