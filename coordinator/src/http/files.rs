//! `/files`: list, look, delete.

use std::sync::Arc;

use api::auth::Usage;
use api::files::ListParams;
use api::page::{Page, PageParams};
use api::paths;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use proto::FileId;

use super::authorization::{Account, Delete, List, Read, User};
use super::conditions::{self, Verdict};
use super::extract::{Id, Json, Params};
use super::page;
use super::problem::Problem;
use crate::files::listing::{self, Order, described};
use crate::files::{Files, delete};

/// The caller's files.
#[utoipa::path(get, path = paths::FILES, tag = "files", security(("bearer" = []), ("access_key" = [])), params(ListParams),
    responses((status = 200, body = Page<api::files::File>)))]
pub(super) async fn list(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<List>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<api::files::File>>, Problem> {
    let position = PageParams {
        limit: params.limit,
        cursor: params.cursor,
    };
    let (limit, prefix) = (page::limit(&position)?, params.prefix.unwrap_or_default());
    let (user, rows) = (caller.user_id, limit as i64 + 1);
    if prefix.contains('\0') {
        return Err(Problem::invalid(
            "`prefix` cannot contain the NUL character.",
        ));
    }
    let page = match params.sort.as_deref() {
        None | Some("-completed_at" | "-created_at") => {
            let after = page::position::<(Timestamp, FileId)>(&position)?;
            if after.is_some_and(|(at, _)| at < Timestamp::UNIX_EPOCH) {
                return Err(page::foreign_cursor()); // and no time that Postgres knows
            }
            let files = listing::list(&files, user, &prefix, Order::ByTime(after), rows).await?;
            page::of(files, limit, |file| (file.completed_at, file.id), described)
        }
        Some("name") => {
            let after = page::position::<(String, FileId)>(&position)?;
            if after.as_ref().is_some_and(|(name, _)| name.contains('\0')) {
                return Err(page::foreign_cursor());
            }
            let files = listing::list(&files, user, &prefix, Order::ByName(after), rows).await?;
            page::of(
                files,
                limit,
                |file| (file.filename.clone(), file.id),
                described,
            )
        }
        Some(_) => return Err(Problem::invalid("`sort` is `-completed_at` or `name`.")),
    };
    Ok(Json(page))
}

/// What the account stores, and what keeping it as it is costs.
#[utoipa::path(get, path = paths::USAGE, tag = "auth", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = Usage)))]
pub(super) async fn usage(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<Account>,
) -> Result<Json<Usage>, Problem> {
    let (count, bytes, month) = listing::usage(&files, caller.user_id).await?;
    Ok(Json(Usage {
        files: count,
        bytes,
        month_microcredits: month,
    }))
}

/// One file's metadata.
#[utoipa::path(get, path = paths::FILE, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 200, body = api::files::File), (status = 404, description = "No such file of the caller's"),
    (status = 412, description = "It is not the file that If-Match names")))]
pub(super) async fn one(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<Read>,
    Id(id): Id<FileId>,
    headers: HeaderMap,
) -> Result<Json<api::files::File>, Problem> {
    let file = listing::own(&files, id, caller.user_id)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    // What is told of a file changes while the file does not: its tag says nothing about a copy of this.
    if conditions::of(&file).evaluate(&Method::GET, &headers) == Verdict::Failed {
        return Err(conditions::failed());
    }
    Ok(Json(described(file)))
}

/// Delete a file. Its key is gone at once, and what was not used of its price comes back.
#[utoipa::path(delete, path = paths::FILE, tag = "files", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "No such file of the caller's"),
    (status = 412, description = "It is not the file that If-Match names")))]
pub(super) async fn delete(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<Delete>,
    Id(id): Id<FileId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    if conditions::is_conditional(&headers) {
        let file = listing::own(&files, id, caller.user_id)
            .await?
            .ok_or_else(|| Problem::not_found("file"))?;
        if conditions::of(&file).evaluate(&Method::DELETE, &headers) != Verdict::Proceed {
            return Err(conditions::failed());
        }
    }
    delete::delete(&files, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
