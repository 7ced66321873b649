//! What keeps browsers from being used against their owners: headers of every answer, and which names a listener of this
//! machine answers to.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use kit::own_host;

/// Of what is no page: nothing of it runs, loads or stands in a frame.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    ),
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

/// Adds what an answer does not say of itself.
pub(super) async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
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
