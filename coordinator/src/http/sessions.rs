//! `/auth/sessions`: where an account is logged in, and ending that.

use std::sync::Arc;

use api::paths;
use api::sessions::{Session, Sessions};
use axum::extract::State;
use http::StatusCode;
use model::ids::SessionId;

use super::authorization::{Login, User};
use super::extract::{Id, Json};
use super::problem::Problem;
use crate::accounts::session;
use crate::accounts::{Accounts, sessions};

/// Where the account is logged in, the session that was used last first.
#[utoipa::path(get, path = paths::SESSIONS, tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = Sessions)))]
pub(super) async fn list(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
) -> Result<Json<Sessions>, Problem> {
    let current = caller.session();
    let found = sessions::list(&accounts, caller.user_id).await?;
    let view = |session: session::Session| Session {
        session_id: session.id.as_uuid(),
        current: Some(session.id) == current,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        address: session.address,
        user_agent: Some(session.user_agent).filter(|text| !text.is_empty()),
        expires_at: session.expires_at,
    };
    let items = found.into_iter().map(view).collect();
    Ok(Json(Sessions { items }))
}

/// End one session of the account, this one or another. Its tokens are refused at once.
#[utoipa::path(delete, path = paths::SESSION, tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses((status = 204, description = "Ended, or not there any more")))]
pub(super) async fn end(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
    Id(id): Id<SessionId>,
) -> Result<StatusCode, Problem> {
    sessions::end(&accounts, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all sessions of the account but the one that asks.
#[utoipa::path(delete, path = paths::SESSIONS, tag = "auth", security(("bearer" = [])), responses(
    (status = 204, description = "All others have ended")))]
pub(super) async fn end_others(
    State(accounts): State<Arc<Accounts>>,
    User(caller, ..): User<Login>,
) -> Result<StatusCode, Problem> {
    if let Some(current) = caller.session() {
        sessions::end_others(&accounts, caller.user_id, current).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
