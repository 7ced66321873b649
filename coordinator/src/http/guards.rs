//! What keeps browsers from being used against their owners: headers of every answer, and which names a listener of this
//! machine answers to.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use kit::own_host;

/// Of what is no page: nothing of it runs, loads or stands in a frame.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
        ),
    ),
    // What is no file and no page is about somebody, or stands for a moment.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
];

/// For a year, and for whatever else has the site's name in its own.
const OVER_TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Adds what an answer does not say of itself. Browsers are told to come over TLS alone where the site is said to be there.
pub(super) async fn add_headers(
    State(site_has_tls): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    if site_has_tls {
        let name = header::STRICT_TRANSPORT_SECURITY;
        response.headers_mut().insert(name, OVER_TLS_ALONE);
    }
    response
}

/// On a listener of this machine alone: no page elsewhere reads it through a browser that runs here.
pub(super) async fn check_host(
    State(listen): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST);
    if own_host::answers_to(listen, host.map(HeaderValue::as_bytes)) {
        return next.run(request).await;
    }
    let told = "This listener answers to addresses and to localhost, and to no other name.\n";
    (StatusCode::MISDIRECTED_REQUEST, told).into_response()
}
