//! `/auth/events`: the account's part of the security log.

use std::sync::Arc;

use api::page::{Page, PageParams};
use api::paths;
use api::security_events::SecurityEvent;
use axum::extract::State;

use super::authorization::{Login, User};
use super::extract::{Json, Params};
use super::page;
use super::problem::Problem;
use crate::accounts::Accounts;
use crate::security;

/// What was done with the account in the last 400 days, and tried, the newest first.
#[utoipa::path(get, path = paths::EVENTS, tag = "auth", security(("bearer" = [])), params(PageParams), responses(
    (status = 200, body = Page<SecurityEvent>)))]
pub(super) async fn list(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<SecurityEvent>>, Problem> {
    let (limit, before) = (page::limit(&params)?, page::position::<i64>(&params)?);
    let found = accounts
        .security
        .of_user(caller.user_id, before, limit as i64 + 1);
    Ok(Json(page::of(found.await?, limit, |event| event.id, view)))
}

fn view(event: security::SecurityEvent) -> SecurityEvent {
    SecurityEvent {
        at: event.at,
        kind: event.kind,
        outcome: event.outcome,
        actor: event.actor,
        address: event.address,
        subject: event.subject,
        request_id: event.request_id,
        count: event.count,
    }
}
