//! What happens to every request: an id, a span, a line in the log, a count; and problems become
//! documents, with the id and the path in them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use api::problem::{CONTENT_TYPE, ProblemKind};
use api::{headers, paths};
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use kit::{Clock, Entropy};
use serde_json::json;
use tracing::Instrument;
use tracing::field::{Empty, display};

use super::client_address;
use super::problem::Problem;
use crate::config::HttpConfig;
use crate::metrics::{HttpMetrics, RequestLabels, RouteLabels};
use crate::security::Asked;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

const PROBES: [&str; 3] = [paths::HEALTH, paths::LIVEZ, paths::READYZ];

/// Whether what stands in the path lets somebody in.
fn is_link(route: &str) -> bool {
    route == paths::SHARE_PAGE || route.starts_with(paths::SHARE)
}

pub(super) async fn observe(
    State(metrics): State<Arc<HttpMetrics>>,
    State(clock): State<Clock>,
    State(entropy): State<Entropy>,
    State(config): State<Arc<HttpConfig>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = given_id(&request).unwrap_or_else(|| entropy.uuid_v7(clock.now()).to_string());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = connected.map(|ConnectInfo(connected)| {
        client_address::client_of(&config, connected.ip(), request.headers())
    });
    // Whoever reads the log opens no links with it.
    let logged = match is_link(&route) {
        true => &route,
        false => &path,
    };
    let span = tracing::info_span!("request", id, %method, path = logged, address = Empty, account = Empty);
    if let Some(address) = address {
        span.record("address", display(address));
    }
    let asked = Asked::of_request(&id, address);
    let answer = asked.scope(next.run(request));
    let mut response = answer.instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = write(&problem, response, &path, &id);
    } else if is_bare_error(&response) {
        response = write(&plain(response.status()), response, &path, &id);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (status, elapsed) = (response.status(), began.elapsed());
    let ms = elapsed.as_millis() as u64;
    // Whoever watches the coordinator asks every few seconds, for ever.
    let expected = PROBES.contains(&route.as_str()) && status.is_success();
    span.in_scope(|| match (expected, status.as_u16()) {
        (true, status) => tracing::debug!(status, ms, "answered"),
        (false, status) => tracing::info!(status, ms, "answered"),
    });
    let method = known_method(&method);
    let timed = RouteLabels {
        method,
        route: route.clone(),
    };
    let seconds = metrics.request_seconds.get_or_create(&timed);
    seconds.observe(elapsed.as_secs_f64());
    let labels = RequestLabels {
        method,
        route,
        status: status.as_u16(),
    };
    metrics.requests.get_or_create(&labels).inc();
    response
}

/// A bounded set: HTTP takes any word as a method, and every label is kept for ever.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// A client's own id for the request, if it is one that can be logged.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

/// An error of the framework's own: no route, no method, too late.
fn is_bare_error(response: &Response) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && !response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| is_own(kind.as_bytes()))
}

/// A problem, or a page that says it to people.
fn is_own(content_type: &[u8]) -> bool {
    content_type.starts_with(b"application/") || content_type.starts_with(b"text/html")
}

fn plain(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(
            ProblemKind::NoSuchRoute,
            "Nothing is served here. The API stands under /api/v1 and is described at /docs.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            ProblemKind::MethodNotAllowed,
            "This address does not take this method; /docs tells which it takes.",
        ),
        StatusCode::REQUEST_TIMEOUT => Problem::new(
            ProblemKind::Timeout,
            "The request took too long. Try again.",
        ),
        status if status.is_server_error() => Problem::internal(format!("bare status {status}")),
        status => {
            let mut problem = Problem::invalid("The request cannot be served.");
            problem.status = status;
            problem
        }
    }
}

/// Keeps the headers that the layers below have set: `Allow`, and those of CORS, without which a
/// browser shows no error to its page.
fn write(problem: &Problem, answered: Response, path: &str, id: &str) -> Response {
    let (mut parts, _) = answered.into_parts();
    parts.status = problem.status;
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_ENCODING);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    for (name, value) in &problem.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let document = json!(problem.document(path, id)).to_string();
    Response::from_parts(parts, Body::from(document))
}
