//! What changes the meaning of a request and is not served here is refused, never passed over: a tail of a file that
//! is sent with `Content-Range` would else be stored as the file.

use api::paths;
use api::problem::ProblemKind;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, header};

use super::buckets::object;
use super::conditions;
use super::problem::Problem;

/// Headers that make another request of it, and what to do instead.
const REFUSED: [(&str, &str); 13] = [
    (
        "content-range",
        "send the whole file, or its chunks: files/upload/initiate begins an upload that can be resumed",
    ),
    (
        "upload-offset",
        "files/upload/initiate begins an upload that can be resumed",
    ),
    (
        "upload-complete",
        "files/upload/initiate begins an upload that can be resumed",
    ),
    (
        "upload-incomplete",
        "files/upload/initiate begins an upload that can be resumed",
    ),
    (
        "tus-resumable",
        "tus is spoken at files/tus; files/upload/initiate begins an upload in chunks",
    ),
    ("x-http-method-override", "send the method itself"),
    ("x-http-method", "send the method itself"),
    ("x-method-override", "send the method itself"),
    ("digest", "send `Content-Digest: sha-256=:<base64>:`"),
    ("x-amz-copy-source", "send the bytes"),
    ("x-copy-from", "send the bytes"),
    ("trailer", "send it in the request's head"),
    (
        api::headers::CLASS,
        "a class is chosen where a file's upload begins; objects of buckets and uploads by tus are kept as `standard`",
    ),
];

/// Refuses such requests before anything of them is done.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let refused = match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => None,
        // Which has offsets, and headers of its own for all else.
        _ if is_tus(route) => meaning(headers, &TUS),
        // Writes with something to compare with; their handlers do.
        Method::DELETE if route == paths::FILE => meaning(headers, &[]),
        Method::PUT | Method::DELETE if route == object::ROUTE => meaning(headers, &[]),
        _ if route == paths::FILES || route == paths::UPLOAD_INITIATE => {
            meaning(headers, &[api::headers::CLASS]).or_else(|| condition(headers))
        }
        _ => meaning(headers, &[]).or_else(|| condition(headers)),
    };
    match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

/// What they mean is known there.
const TUS: [&str; 2] = ["tus-resumable", "upload-offset"];

fn is_tus(route: &str) -> bool {
    route == paths::TUS || route == paths::TUS_UPLOAD
}

fn meaning(headers: &HeaderMap, served: &[&str]) -> Option<Problem> {
    let refused = REFUSED
        .into_iter()
        .filter(|(name, _)| !served.contains(name));
    for (name, instead) in refused {
        if headers.contains_key(name) {
            let detail = format!("`{name}` is not served here, and nothing was done: {instead}.");
            return Some(Problem::invalid(detail));
        }
    }
    let codings = tokens(headers, header::CONTENT_ENCODING);
    if codings.iter().any(|coding| coding != "identity") {
        let detail = format!(
            "Bodies are taken as they are, in no coding, and `Content-Encoding: {}` is one. Decode it first; a file \
             that is to be stored compressed is sent with the type of its compressed form.",
            codings.join(", ")
        );
        let mut problem = Problem::new(ProblemKind::UnsupportedMediaType, detail);
        let identity = (header::ACCEPT_ENCODING, "identity".to_owned());
        problem.headers.push(identity);
        return Some(problem);
    }
    let codings = tokens(headers, header::TRANSFER_ENCODING);
    if codings.iter().any(|coding| coding != "chunked") {
        return Some(Problem::invalid(
            "The only Transfer-Encoding that is served is `chunked`. Nothing was done.",
        ));
    }
    let expectations = tokens(headers, header::EXPECT);
    if expectations
        .iter()
        .any(|expected| expected != "100-continue")
    {
        return Some(Problem::invalid(
            "The only Expect that is served is `100-continue`. Nothing was done.",
        ));
    }
    None
}

/// Nothing here can be compared with: what is made is new, and names need not be unique.
fn condition(headers: &HeaderMap) -> Option<Problem> {
    if headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        return Some(conditions::failed());
    }
    conditions::is_conditional(headers).then(|| {
        Problem::invalid(
            "If-… is not served by this request, and nothing was done. An upload never replaces a file: it makes a \
             new one, and `Idempotency-Key` keeps a repeated one from making two.",
        )
    })
}

/// The words of a list, in lower case. What is no text is a word of its own.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let values = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    let words = values.map(|word| word.trim().to_ascii_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}
