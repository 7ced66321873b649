//! `GET|HEAD /files/{id}/download`: the bytes, whole or a range of them.

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
use proto::FileId;

use super::extract::{ClientAddr, Id, User};
use super::problem::Problem;
use crate::blobs::memory::Holder;
use crate::files::download::Content;
use crate::files::{Files, download};
use model::file::File;

/// Read a file. `Range` (one range), `If-None-Match`, `If-Range` and `HEAD` work as usual.
#[utoipa::path(method(get, head), path = paths::FILE_DOWNLOAD, tag = "files",
    security(("bearer" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "The client has it already"),
    (status = 404, description = "No such file of the caller's"),
    (status = 416, description = "The range lies outside of the file"),
    (status = 503, description = "No copy of a chunk can be read right now")))]
pub(super) async fn download(
    State(files): State<Arc<Files>>,
    User(caller): User,
    ClientAddr(address): ClientAddr,
    Id(id): Id<FileId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let readable = download::open(&files, caller.user_id, id).await?;
    let file = readable.file.clone();
    let etag = format!("\"{id}\""); // a file never changes
    if matches_etag(&headers, header::IF_NONE_MATCH, &etag) {
        return respond(StatusCode::NOT_MODIFIED, &file, &etag, Body::empty());
    }
    let size = file.layout.size_bytes;
    let range = match requested_range(&headers, &etag, size) {
        Requested::Whole => None,
        Requested::Part(range) => Some(range),
        Requested::Unsatisfiable => {
            let detail = format!("The file has {size} bytes; the range lies outside of it.");
            let mut problem = Problem::new(ProblemKind::RangeNotSatisfiable, detail);
            problem
                .headers
                .push((header::CONTENT_RANGE, format!("bytes */{size}")));
            return Err(problem);
        }
    };
    let status = match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let bytes = range.clone().unwrap_or(0..size);
    let length = bytes.end - bytes.start;
    let body = if method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        let metrics = Arc::clone(&files.metrics);
        let holder = Holder {
            account: caller.user_id,
            address,
        };
        match download::read(files, readable, bytes.clone(), holder).await? {
            Content::Piece(piece) => {
                metrics.downloaded_bytes.inc_by(length);
                Body::from(piece)
            }
            Content::Pieces(stream) => {
                let counted = stream.inspect(move |chunk| {
                    if let Ok(chunk) = chunk {
                        metrics.downloaded_bytes.inc_by(chunk.len() as u64);
                    }
                });
                Body::from_stream(counted)
            }
        }
    };
    let mut response = respond(status, &file, &etag, body)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if range.is_some() {
        let value = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
        headers.insert(header::CONTENT_RANGE, header_value(&value)?);
    }
    Ok(response)
}

fn respond(status: StatusCode, file: &File, etag: &str, body: Body) -> Result<Response, Problem> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, header_value(etag)?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, header_value(&file.content_type)?);
    headers.insert(
        header::CONTENT_DISPOSITION,
        header_value(&disposition(&file.filename))?,
    );
    // What users stored must not run as a page of this site.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    let modified = file.completed_at.to_zoned(jiff::tz::TimeZone::UTC);
    let modified = modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    headers.insert(header::LAST_MODIFIED, header_value(&modified)?);
    Ok(response)
}

fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}

/// RFC 6266: a plain name for old clients, and the real one in UTF-8.
fn disposition(filename: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let plain: String = filename
        .chars()
        .map(|c| match c {
            '"' | '\\' | '/' | '%' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .take(200)
        .collect();
    let encoded = utf8_percent_encode(filename, KEPT);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn matches_etag(headers: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// One range is honoured. Several, a unit that is not bytes, and what cannot be read are answered with
/// the whole, as RFC 9110 allows.
fn requested_range(headers: &HeaderMap, etag: &str, size: u64) -> Requested {
    if headers.contains_key(header::IF_RANGE) && !matches_etag(headers, header::IF_RANGE, etag) {
        return Requested::Whole;
    }
    let parsed = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| http_range_header::parse_range_header(text).ok());
    let Some(parsed) = parsed.filter(|parsed| parsed.ranges.len() == 1) else {
        return Requested::Whole;
    };
    match parsed.validate(size).ok().as_deref() {
        Some([range]) if size > 0 => Requested::Part(*range.start()..range.end() + 1),
        _ => Requested::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &'static str, size: u64) -> Requested {
        let headers = [(header::RANGE, HeaderValue::from_static(text))];
        requested_range(&headers.into_iter().collect(), "\"tag\"", size)
    }

    #[test]
    fn one_range_is_honoured_and_what_cannot_be_is_told() {
        assert_eq!(range("bytes=0-0", 10), Requested::Part(0..1));
        assert_eq!(range("bytes=5-", 10), Requested::Part(5..10));
        assert_eq!(range("bytes=-3", 10), Requested::Part(7..10));
        assert_eq!(range("bytes=5-99", 10), Requested::Part(5..10));
        assert_eq!(range("bytes=10-", 10), Requested::Unsatisfiable);
        assert_eq!(range("bytes=0-", 0), Requested::Unsatisfiable);
        assert_eq!(range("bytes=0-1,3-4", 10), Requested::Whole);
        assert_eq!(range("lines=0-1", 10), Requested::Whole);
        assert_eq!(range("bytes=b-a", 10), Requested::Whole);
    }

    #[test]
    fn a_range_of_another_version_gives_the_whole() {
        let headers = |tag: &'static str| {
            [
                (header::RANGE, HeaderValue::from_static("bytes=0-1")),
                (header::IF_RANGE, HeaderValue::from_static(tag)),
            ]
            .into_iter()
            .collect()
        };
        assert_eq!(
            requested_range(&headers("\"tag\""), "\"tag\"", 9),
            Requested::Part(0..2)
        );
        assert_eq!(
            requested_range(&headers("\"old\""), "\"tag\"", 9),
            Requested::Whole
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let header = disposition("a\"b/ü\n.txt");
        assert_eq!(
            header,
            "attachment; filename=\"a_b___.txt\"; filename*=UTF-8''a%22b%2F%C3%BC%0A.txt"
        );
        assert!(HeaderValue::from_str(&header).is_ok());
    }
}
