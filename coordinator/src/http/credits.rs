//! `/balance` and `/credits`.

use crate::bookkeeping::{balances, chart};
use std::sync::Arc;

use api::credits::{Balance, Transaction};
use api::page::{Page, PageParams};
use api::paths;
use axum::extract::State;
use proto::MicroCredits;

use super::authorization::{Account, Caller, NodeOr};
use super::extract::{Json, Params};
use super::page;
use super::problem::Problem;
use crate::billing::{Billing, history};

use ledger::TransferId;

/// The user's balance (bearer token) or the node's (`X-API-Key`).
#[utoipa::path(get, path = paths::BALANCE, tag = "credits",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), responses(
    (status = 200, body = Balance), (status = 401, description = "Neither token nor key is valid")))]
pub(super) async fn balance(
    State(billing): State<Arc<Billing>>,
    NodeOr(caller, ..): NodeOr<Account>,
) -> Result<Json<Balance>, Problem> {
    let mut connection = billing.db.acquire().await?;
    let balance = match caller {
        Caller::User(user) => {
            let balance = balances::of_user(&mut connection, user.user_id).await?;
            Balance {
                owner: "user".to_owned(),
                available_microcredits: balance.available,
                held_microcredits: balance.upload_hold,
                escrow_microcredits: Some(balance.escrow),
            }
        }
        Caller::Node(node) => {
            let balances = balances::of_nodes(&mut connection, &[node.id]).await?;
            let balance = balances.first();
            Balance {
                owner: "node".to_owned(),
                available_microcredits: balance
                    .map_or(MicroCredits::ZERO, |balance| balance.available),
                held_microcredits: balance.map_or(MicroCredits::ZERO, |balance| balance.held),
                escrow_microcredits: None,
            }
        }
    };
    Ok(Json(balance))
}

/// The caller's transfers, newest first.
#[utoipa::path(get, path = paths::TRANSACTIONS, tag = "credits",
    security(("bearer" = []), ("access_key" = []), ("node_api_key" = [])), params(PageParams), responses(
    (status = 200, body = Page<Transaction>)))]
pub(super) async fn transactions(
    State(billing): State<Arc<Billing>>,
    NodeOr(caller, ..): NodeOr<Account>,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<Transaction>>, Problem> {
    let (limit, before) = (
        page::limit(&params)?,
        page::position::<TransferId>(&params)?,
    );
    let account = match caller {
        Caller::User(user) => chart::available(user.user_id),
        Caller::Node(node) => chart::node_available(node.id),
    };
    let mut connection = billing.db.acquire().await?;
    let rows = ledger::transfers_of(&mut connection, account, before, limit as i64 + 1).await?;
    Ok(Json(page::of(
        rows,
        limit,
        |row| row.id,
        history::described,
    )))
}
