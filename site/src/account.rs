//! The two pages that links in letters lead to. They run one script of this program, and load nothing from elsewhere.

use api::paths::{RESET_PAGE, VERIFY_PAGE};
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// The pages, and what they consist of.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(RESET_PAGE, get(page))
        .route(VERIFY_PAGE, get(page))
        .route("/account.js", get(script))
        .route("/account.css", get(style))
}

async fn page() -> Response {
    serve(
        "text/html; charset=utf-8",
        include_str!("pages/account.html"),
    )
}

async fn script() -> Response {
    serve(
        "text/javascript; charset=utf-8",
        include_str!("pages/account.js"),
    )
}

async fn style() -> Response {
    serve("text/css", include_str!("pages/account.css"))
}

fn serve(content_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}
