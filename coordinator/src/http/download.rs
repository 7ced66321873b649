//! `GET|HEAD /files/{id}/download`: the bytes, whole or a range of them.

use std::sync::Arc;

use api::paths;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use gateway::inert;
use http::Method;
use http::header::HeaderMap;
use proto::{FileId, MicroCredits};

use super::authorization::{Read, Sharer, charge};
use super::conditions;
use super::extract::Id;
use super::problem::Problem;
use super::served::Served;
use crate::accounts::Accounts;
use crate::files::download::Content;
use crate::files::{Files, download};

/// Read a file. `Range` (one range), the conditions `If-…` and `HEAD` work as RFC 9110 says.
#[utoipa::path(method(get, head), path = paths::FILE_DOWNLOAD, tag = "files",
    security(("bearer" = []), ("access_key" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "No such file of the caller's"),
    (status = 412, description = "It is not the file that If-Match names"),
    (status = 416, description = "The range lies outside of the file"),
    (status = 503, description = "No copy of a chunk can be read right now")))]
pub(super) async fn download(
    State(files): State<Arc<Files>>,
    State(accounts): State<Arc<Accounts>>,
    Sharer { caller, holder, .. }: Sharer<Read>,
    Id(id): Id<FileId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let readable = download::open(&files, holder.account, id).await?;
    let file = readable.file.clone();
    let served = Served {
        size: file.layout.size_bytes,
        content_type: &file.content_type,
        disposition: inert::attachment(&file.filename),
        sha256: file.sha256.as_ref(),
        validators: conditions::of(&file),
    };
    let asked = served.asked(&method, &headers)?;
    let bytes = asked.bytes(&method, served.size);
    let length = bytes.end - bytes.start;
    if length == 0 {
        return served.answer(&asked, Body::empty());
    }
    charge(&accounts, &caller, length, MicroCredits::ZERO).await?;
    let downloaded = files.metrics.downloaded_bytes.clone();
    let body = match download::read(files, readable, bytes, holder).await? {
        Content::Piece(piece) => {
            downloaded.inc_by(length);
            Body::from(piece)
        }
        Content::Pieces(stream) => {
            let counted = stream.inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    downloaded.inc_by(chunk.len() as u64);
                }
            });
            Body::from_stream(counted)
        }
    };
    served.answer(&asked, body)
}
