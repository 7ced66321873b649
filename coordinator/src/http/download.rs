//! `GET|HEAD /files/{id}/download`: the bytes, whole or a range of them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use api::paths;
use api::problem::ProblemKind;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::{FileId, MicroCredits};

use super::authorization::{Read, Sharer, charge};
use super::conditions::{self, Validators, Verdict};
use super::digests;
use super::extract::Id;
use super::problem::Problem;
use super::ranges::{self, Requested};
use crate::accounts::Accounts;
use crate::files::download::Content;
use crate::files::{Files, download};
use model::file::File;

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
    let validators = Validators::of(&file);
    match validators.evaluate(&method, &headers) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            return respond(StatusCode::NOT_MODIFIED, &file, &validators, Body::empty());
        }
        Verdict::Failed => return Err(conditions::failed()),
    }
    let asked = whole_or_range(&method, &headers, &validators, file.layout.size_bytes)?;
    let length = asked.length();
    let body = if method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        charge(&accounts, &caller, length, MicroCredits::ZERO).await?;
        let downloaded = files.metrics.downloaded_bytes.clone();
        match download::read(files, readable, asked.bytes.clone(), holder).await? {
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
        }
    };
    let mut response = respond(asked.status(), &file, &validators, body)?;
    asked.add_to(response.headers_mut())?;
    Ok(response)
}

/// The bytes that an answer has.
#[derive(Debug)]
pub(super) struct Asked {
    pub bytes: Range<u64>,
    /// Of so many bytes, where it is a range of them that was asked for.
    part_of: Option<u64>,
}

/// Ranges are defined for GET alone.
pub(super) fn whole_or_range(
    method: &Method,
    headers: &HeaderMap,
    validators: &Validators,
    size: u64,
) -> Result<Asked, Problem> {
    let asked = headers
        .get(header::RANGE)
        .filter(|_| method == Method::GET && validators.range_applies(headers));
    match asked.map(|range| ranges::requested(range, size)) {
        None | Some(Requested::Whole) => Ok(Asked {
            bytes: 0..size,
            part_of: None,
        }),
        Some(Requested::Part(bytes)) => Ok(Asked {
            bytes,
            part_of: Some(size),
        }),
        Some(Requested::Unsatisfiable) => {
            let detail = format!("There are {size} bytes; the range lies outside of them.");
            let mut problem = Problem::new(ProblemKind::RangeNotSatisfiable, detail);
            problem
                .headers
                .push((header::CONTENT_RANGE, format!("bytes */{size}")));
            Err(problem)
        }
    }
}

impl Asked {
    pub(super) fn length(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    pub(super) fn status(&self) -> StatusCode {
        match self.part_of {
            Some(_) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::OK,
        }
    }

    pub(super) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), Problem> {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.length()));
        if let Some(size) = self.part_of {
            let value = format!("bytes {}-{}/{size}", self.bytes.start, self.bytes.end - 1);
            headers.insert(header::CONTENT_RANGE, header_value(&value)?);
        }
        Ok(())
    }
}

fn respond(
    status: StatusCode,
    file: &File,
    validators: &Validators,
    body: Body,
) -> Result<Response, Problem> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, header_value(&validators.etag)?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, header_value(&file.content_type)?);
    headers.insert(
        header::CONTENT_DISPOSITION,
        header_value(&disposition(&file.filename))?,
    );
    if let Some(sha256) = &file.sha256 {
        let digest = header_value(&digests::repr_digest(sha256))?;
        headers.insert(HeaderName::from_static(api::headers::REPR_DIGEST), digest);
    }
    // What users stored must not run as a page of this site.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    let modified = header_value(&validators.last_modified())?;
    headers.insert(header::LAST_MODIFIED, modified);
    Ok(response)
}

fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}

/// Of a name in a response's head, so that the head stays below the 4 KiB that proxies have room for. No file system
/// takes longer ones.
const MAX_NAME_BYTES: usize = 500;

/// The name, or so much of it that its ending is kept.
fn shortened(filename: &str) -> Cow<'_, str> {
    if filename.len() <= MAX_NAME_BYTES {
        return filename.into();
    }
    let ending = filename
        .rfind('.')
        .map_or("", |dot| &filename[dot..])
        .chars()
        .take(20)
        .collect::<String>();
    let room = filename.floor_char_boundary(MAX_NAME_BYTES - ending.len());
    format!("{}{ending}", &filename[..room]).into()
}

/// RFC 6266: a plain name for old clients, and the real one in UTF-8.
pub(super) fn disposition(filename: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let filename = shortened(filename);
    let plain: String = filename
        .chars()
        .map(|c| match c {
            '"' | '\\' | '/' | '%' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .take(200)
        .collect();
    let encoded = utf8_percent_encode(&filename, KEPT);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let header = disposition("a\"b/ü\n.txt");
        assert_eq!(
            header,
            "attachment; filename=\"a_b___.txt\"; filename*=UTF-8''a%22b%2F%C3%BC%0A.txt"
        );
        assert!(HeaderValue::from_str(&header).is_ok());
    }

    #[test]
    fn a_name_of_any_length_leaves_room_in_the_head_and_keeps_its_ending() {
        for name in [
            "日".repeat(600) + ".pdf",
            "\"".repeat(4096),
            ".".repeat(4096),
            "x".repeat(4090) + "." + &"ü".repeat(100),
        ] {
            let header = disposition(&name);
            assert!(header.len() < 2000, "{}", header.len());
        }
        let header = disposition(&("日".repeat(600) + ".pdf"));
        assert!(header.ends_with("%E6%97%A5.pdf"), "{header}");
        let short = "日".repeat(100) + ".pdf";
        assert_eq!(shortened(&short), short);
    }
}
