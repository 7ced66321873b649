//! `/files`: list, look, delete.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use proto::FileId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::extract::{Id, Json, Params, User};
use super::page::{Page, PageParams};
use super::problem::Problem;
use crate::app::{App, files};
use crate::db;
use crate::db::files::{ByTime, File};

/// A stored file.
#[derive(Serialize, ToSchema)]
#[schema(as = File)]
pub struct FileView {
    file_id: Uuid,
    filename: String,
    size_bytes: u64,
    content_type: String,
    chunk_size_bytes: u32,
    chunk_count: u64,
    #[schema(example = "ready")]
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    paid_until: Timestamp,
    /// Since when its renewal could not be paid; it is kept until `paid_until`, and then deleted. `null`
    /// when all is well.
    #[schema(value_type = Option<String>, format = DateTime)]
    grace_since: Option<Timestamp>,
}

impl From<File> for FileView {
    fn from(file: File) -> Self {
        Self {
            file_id: file.id.as_uuid(),
            filename: file.filename,
            size_bytes: file.layout.size_bytes,
            content_type: file.content_type,
            chunk_size_bytes: file.layout.chunk_size,
            chunk_count: file.layout.chunk_count(),
            state: "ready",
            created_at: file.created_at,
            paid_until: file.paid_until,
            grace_since: file.grace_since,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only names that begin like this.
    prefix: Option<String>,
    /// `-created_at` (newest first, unless told) or `name` (in byte order).
    sort: Option<String>,
    /// Items on a page, 1 to 1000; 100 unless told.
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The caller's files.
#[utoipa::path(get, path = "/files", tag = "files", security(("bearer" = [])), params(ListParams),
    responses((status = 200, body = Page<FileView>)))]
pub async fn list(
    State(app): State<Arc<App>>,
    User(caller): User,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<FileView>>, Problem> {
    let page = PageParams {
        limit: params.limit,
        cursor: params.cursor,
    };
    let (limit, prefix) = (page.limit()?, params.prefix.unwrap_or_default());
    let (user, rows) = (caller.user_id, limit as i64 + 1);
    if prefix.contains('\0') {
        return Err(Problem::invalid(
            "`prefix` cannot contain the NUL character.",
        ));
    }
    let page = match params.sort.as_deref() {
        None | Some("-created_at") => {
            let after = page
                .position::<(Timestamp, FileId)>()?
                .map(|(created_at, id)| ByTime { created_at, id });
            if after
                .as_ref()
                .is_some_and(|after| after.created_at < Timestamp::UNIX_EPOCH)
            {
                return Err(PageParams::foreign_cursor()); // and no time that Postgres knows
            }
            let mut connection = app.db.acquire().await?;
            let files =
                db::files::list_by_time(&mut connection, user, &prefix, after.as_ref(), rows)
                    .await?;
            Page::new(
                files,
                limit,
                |file| (file.created_at, file.id),
                FileView::from,
            )
        }
        Some("name") => {
            let after = page.position::<(String, FileId)>()?;
            if after.as_ref().is_some_and(|(name, _)| name.contains('\0')) {
                return Err(PageParams::foreign_cursor());
            }
            let after = after.as_ref().map(|(name, id)| (name.as_str(), *id));
            let mut connection = app.db.acquire().await?;
            let files =
                db::files::list_by_name(&mut connection, user, &prefix, after, rows).await?;
            Page::new(
                files,
                limit,
                |file| (file.filename.clone(), file.id),
                FileView::from,
            )
        }
        Some(_) => return Err(Problem::invalid("`sort` is `-created_at` or `name`.")),
    };
    Ok(Json(page))
}

/// One file's metadata.
#[utoipa::path(get, path = "/files/{id}", tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 200, body = FileView), (status = 404, description = "No such file of the caller's")))]
pub async fn one(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<FileId>,
) -> Result<Json<FileView>, Problem> {
    let mut connection = app.db.acquire().await?;
    let file = db::files::by_id(&mut connection, id, caller.user_id)
        .await?
        .ok_or_else(|| Problem::not_found("file"))?;
    Ok(Json(file.into()))
}

/// Delete a file. Its key is gone at once, and what was not used of its price comes back.
#[utoipa::path(delete, path = "/files/{id}", tag = "files", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "No such file of the caller's")))]
pub async fn delete(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<FileId>,
) -> Result<StatusCode, Problem> {
    files::delete(&app, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
