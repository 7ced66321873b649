//! What stands around every page: its name, its ways on, its headers; and the page that says why there is no other.

use api::problem::Problem;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use look::{Entry, Frame};
use maud::{Markup, Render, html};

use crate::assets;

pub(crate) const BRAND: &str = "Federated storage";

pub(crate) const OF_VISITORS: [Entry; 2] = [entry("/", "Network"), entry("/nodes", "Nodes")];

pub(crate) const fn entry(path: &'static str, name: &'static str) -> Entry {
    Entry { path, name }
}

pub(crate) fn foot() -> Markup {
    html! {
        a href="/nodes" { "Nodes" }
        a href="/docs/" { "API" }
        a href="/health" { "Health" }
        span { "Times are UTC. 1 GB is 10⁹ bytes." }
    }
}

/// Headers of every page. None is kept by a cache: what is on it is of one person, and of now.
pub(crate) fn answer(page: Markup) -> impl IntoResponse {
    const HEADERS: [(HeaderName, HeaderValue); 7] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(look::POLICY),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("same-origin"),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    (HEADERS, page.into_string())
}

/// Why there is no page, as one.
pub(crate) fn problem_page(problem: &Problem, words: &str) -> Response {
    let content = html! {
        h1 { (problem.title) }
        (look::notice(true, words))
        p.quiet { "Request " code { (problem.request_id) } }
        p { a href="/" { "To the first page" } " · " a href="/overview" { "Your account" } }
    };
    let frame = Frame {
        title: &problem.title,
        brand: BRAND,
        style: assets::STYLE,
        scripts: &[],
        entries: &OF_VISITORS,
        here: "",
        aside: html! {},
        content,
        foot: foot(),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, answer(frame.render())).into_response()
}
