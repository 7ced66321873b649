//! What pages consist of besides their text: one stylesheet and a few scripts, out of this program. Browsers keep them, and
//! ask each time whether they are still the same: after a release no page meets the script of the one before.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

pub(crate) const STYLE: &str = "/static/style.css";
pub(crate) const LIVE_SCRIPT: &str = "/static/live.js";
pub(crate) const SCROLL_SCRIPT: &str = "/static/scroll.js";
pub(crate) const UPLOAD_SCRIPT: &str = "/static/upload.js";
pub(crate) const ACCOUNT_SCRIPT: &str = "/static/account.js";

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const ALL: [(&str, &str, &str); 5] = [
    (STYLE, CSS, look::STYLE),
    (LIVE_SCRIPT, SCRIPT, include_str!("static/live.js")),
    (SCROLL_SCRIPT, SCRIPT, include_str!("static/scroll.js")),
    (UPLOAD_SCRIPT, SCRIPT, include_str!("static/upload.js")),
    (ACCOUNT_SCRIPT, SCRIPT, include_str!("static/account.js")),
];

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ALL.into_iter()
        .fold(Router::new(), |router, (path, kind, body)| {
            router.route(
                path,
                get(async move |headers: HeaderMap| serve(&headers, kind, body)),
            )
        })
}

fn serve(asked: &HeaderMap, kind: &'static str, body: &'static str) -> Response {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = asked.get(header::IF_NONE_MATCH);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::ETAG, &tag),
    ];
    match known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, body).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a first visit loads: the page itself is measured where it is served.
    #[test]
    fn what_the_first_page_loads_leaves_room_for_the_page() {
        let first = [STYLE, LIVE_SCRIPT];
        let loaded = ALL.iter().filter(|(path, ..)| first.contains(path));
        let bytes: usize = loaded.map(|(_, _, body)| body.len()).sum();
        assert!(bytes < 30_000, "{bytes}");
    }

    #[test]
    fn scripts_load_nothing_from_elsewhere_and_make_no_code_of_text() {
        for (path, _, body) in ALL {
            for word in ["http://", "https://", "innerHTML", "eval(", "import("] {
                assert!(!body.contains(word), "{path}: {word}");
            }
        }
    }
}
