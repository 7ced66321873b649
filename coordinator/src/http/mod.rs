//! The REST API. The whole of it stands on this page; each resource has a file.

mod access_keys;
mod account_problems;
mod auth;
mod authorization;
mod buckets;
mod classes;
mod client_address;
mod conditions;
mod credits;
mod described_errors;
mod digests;
mod download;
mod drain;
mod durability;
mod earnings;
mod events;
mod evidence;
mod extract;
mod files;
mod form;
mod guards;
mod health;
mod holding_body;
mod jobs;
mod key_problems;
mod node_proofs;
mod nodes;
mod object_problems;
mod observe;
mod paced_body;
mod page;
mod pages;
mod passkeys;
mod passwords;
mod payment_problems;
mod payments;
mod peers;
mod problem;
mod rate_limit;
mod requests_per_address;
pub mod s3;
mod second_factor;
mod served;
pub mod server;
mod sessions;
mod share_page;
mod share_problems;
mod shares;
mod state;
mod tus;
mod unserved;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use api::{headers, paths};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, middleware, routing};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use kit::Statuses;
use kit::metrics::CONTENT_TYPE;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rate_limit::{AccountLimits, AuthLimits};
use self::requests_per_address::RequestLimit;
use self::state::ApiState;
use crate::compose::Coordinator;
use crate::config::HttpConfig;
use crate::files::Files;
use crate::fleet::Nodes;
use crate::fleet::peers::PeerNetwork;
use crate::metrics::{JobMetrics, Metrics, ShareMetrics};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Federated storage network: coordinator",
        description = "Store files, sealed and in several copies, on independent storage nodes. \
                       Errors are RFC 9457 problem documents.",
    ),
    modifiers(&SecuritySchemes),
    tags(
        (name = "auth", description = "Accounts and tokens"),
        (name = "access keys", description = "What programs sign in with"),
        (name = "uploads", description = "Bringing files in"),
        (name = "files", description = "Stored files"),
        (name = "buckets", description = "Names for what is stored, as S3 has them"),
        (name = "shares", description = "Links for whoever has them"),
        (name = "credits", description = "What it costs and earns"),
        (name = "nodes", description = "The fleet"),
        (name = "service", description = "How the coordinator is"),
    )
)]
struct ApiDescription;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
        components.add_security_scheme("access_key", SecurityScheme::Http(key.build()));
        let node = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("node_api_key", SecurityScheme::ApiKey(node));
    }
}

/// Everything that is served.
pub fn router(coordinator: &Coordinator, jobs: Statuses) -> Router {
    let config = &coordinator.config;
    let state = ApiState::of(coordinator, jobs);
    let entropy = &coordinator.entropy;
    let auth_limits = Arc::new(AuthLimits::new(&config.auth, entropy));
    let purchases_per_day = config.money.purchases_per_day;
    let account_limits = AccountLimits::new(&config.uploads, purchases_per_day, entropy);
    let (routes, mut description) = api(config.http.request_timeout).split_for_parts();
    described_errors::describe(&mut description);
    let api = routes
        .merge(share_page())
        .layer(Extension(auth_limits))
        .layer(Extension(Arc::new(account_limits)))
        .layer(middleware::from_fn(unserved::refuse))
        .with_state(state.clone());
    let observed = || middleware::from_fn_with_state(state.clone(), observe::observe);
    let site = pages::site(coordinator, api.clone().layer(observed()));
    api.merge(site::viewer::router(description))
        .merge(site::router(site.clone()))
        .layer(middleware::from_fn_with_state(site, site::signed_in::carry))
        .layer(middleware::from_fn_with_state(
            RequestLimit::new(Arc::new(config.http.clone())),
            requests_per_address::limit,
        ))
        .layer(cors(&config.http))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            tus::tell_version,
        ))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn_with_state(
            config
                .http
                .public_url
                .as_deref()
                .is_some_and(|url| url.starts_with("https:")),
            guards::add_headers,
        ))
        .layer(observed())
}

/// Where links of shares lead.
fn share_page() -> Router<ApiState> {
    let page = routing::get(share_page::show).post(share_page::unlock);
    let page = page.layer(DefaultBodyLimit::max(share_page::MOST_FORM));
    Router::new().route(paths::SHARE_PAGE, page)
}

/// The API as it is described to clients.
fn api(request_timeout: Duration) -> OpenApiRouter<ApiState> {
    // Answers in JSON are small and quick to make.
    let plain = OpenApiRouter::new()
        .routes(routes!(auth::register))
        .routes(routes!(auth::login))
        .routes(routes!(second_factor::log_in))
        .routes(routes!(second_factor::status))
        .routes(routes!(second_factor::enrol, second_factor::remove))
        .routes(routes!(second_factor::confirm))
        .routes(routes!(second_factor::renew_codes))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(passwords::change, passkeys::give_up_password))
        .routes(routes!(passkeys::begin_login))
        .routes(routes!(passkeys::log_in))
        .routes(routes!(passkeys::list, passkeys::add))
        .routes(routes!(passkeys::begin))
        .routes(routes!(passkeys::rename, passkeys::remove))
        .routes(routes!(passwords::request_reset))
        .routes(routes!(passwords::reset))
        .routes(routes!(passwords::verify))
        .routes(routes!(passwords::request_verification))
        .routes(routes!(sessions::list, sessions::end_others))
        .routes(routes!(sessions::end))
        .routes(routes!(events::list))
        .routes(routes!(auth::me, auth::delete))
        .routes(routes!(files::usage))
        .routes(routes!(access_keys::create, access_keys::list))
        .routes(routes!(access_keys::revoke))
        .routes(routes!(payments::purchase))
        .routes(routes!(payments::purchase_status))
        .routes(routes!(payments::payment_webhook))
        .routes(routes!(
            payments::put_destination,
            payments::get_destination,
            payments::delete_destination
        ))
        .routes(routes!(uploads::initiate))
        .routes(routes!(uploads::status, uploads::abort))
        .routes(routes!(uploads::complete))
        .routes(routes!(files::list))
        .routes(routes!(files::one, files::delete))
        .routes(routes!(buckets::create, buckets::list))
        .routes(routes!(buckets::one, buckets::change, buckets::delete))
        .routes(routes!(buckets::lists::list))
        .routes(routes!(buckets::lists::entry))
        .routes(routes!(buckets::lists::feed))
        .routes(routes!(buckets::copies::copy))
        .routes(routes!(buckets::copies::rename))
        .routes(routes!(buckets::copies::restore))
        .routes(routes!(evidence::receipts))
        .routes(routes!(evidence::proof))
        .routes(routes!(evidence::sealed))
        .routes(routes!(durability::durability))
        .routes(routes!(shares::create, shares::list))
        .routes(routes!(shares::facts, shares::change, shares::end))
        .routes(routes!(shares::unlock))
        .routes(routes!(shares::durability))
        .routes(routes!(classes::list))
        .routes(routes!(credits::balance))
        .routes(routes!(credits::transactions))
        .routes(routes!(earnings::earnings))
        .routes(routes!(earnings::pay_out, earnings::payouts))
        .routes(routes!(nodes::network))
        .routes(routes!(nodes::summary))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one))
        .routes(routes!(node_proofs::proofs))
        .routes(routes!(node_proofs::one))
        .routes(routes!(drain::begin, drain::progress, drain::cancel))
        .routes(routes!(drain::plan))
        .routes(routes!(nodes::nonce))
        .routes(routes!(nodes::register))
        .routes(routes!(nodes::create_token))
        .routes(routes!(peers::list))
        .routes(routes!(jobs::list))
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            request_timeout,
        ));
    // File bodies take as long as they take, as long as they move; sealed bytes do not compress, and
    // clients may send what is compressed already.
    let bodies = OpenApiRouter::new()
        .routes(routes!(uploads::upload))
        .routes(routes!(uploads::chunk))
        .routes(routes!(uploads::chunks))
        .routes(routes!(download::download))
        .routes(routes!(
            buckets::object::put,
            buckets::object::read,
            buckets::object::remove
        ))
        .routes(routes!(tus::begin))
        .routes(routes!(tus::status, tus::patch, tus::terminate))
        .routes(routes!(shares::content))
        .routes(routes!(auth::export))
        .layer(DefaultBodyLimit::disable());
    let mut api = OpenApiRouter::with_openapi(ApiDescription::openapi())
        .merge(plain.merge(bodies))
        .routes(routes!(health::health))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz));
    // The router's form for a rest of the path is none of OpenAPI's.
    let described = &mut api.get_openapi_mut().paths.paths;
    if let Some(object) = described.remove(buckets::object::ROUTE) {
        described.insert(paths::OBJECT.to_owned(), object);
    }
    api
}

fn cors(config: &HttpConfig) -> CorsLayer {
    let origins = &config.cors_origins;
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins = origins
            .iter()
            .filter_map(|origin| HeaderValue::from_str(origin).ok());
        AllowOrigin::list(origins)
    };
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(methods)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
            header::IF_RANGE,
            HeaderName::from_static(headers::CONTENT_DIGEST),
            HeaderName::from_static(headers::REPR_DIGEST),
            HeaderName::from_static(headers::CONTENT_MD5),
            HeaderName::from_static(headers::CLASS),
            HeaderName::from_static(headers::IDEMPOTENCY_KEY),
            HeaderName::from_static(headers::API_KEY),
            HeaderName::from_static(headers::EXPIRES_AT),
            HeaderName::from_static(headers::ENVELOPE),
            HeaderName::from_static(headers::SHARE_TOKEN),
            HeaderName::from_static(headers::tus::RESUMABLE),
            HeaderName::from_static(headers::tus::LENGTH),
            HeaderName::from_static(headers::tus::DEFER_LENGTH),
            HeaderName::from_static(headers::tus::OFFSET),
            HeaderName::from_static(headers::tus::METADATA),
            HeaderName::from_static(headers::tus::CHECKSUM),
            observe::REQUEST_ID,
        ])
        .expose_headers([
            header::ACCEPT_RANGES,
            header::ALLOW,
            header::CONTENT_DISPOSITION,
            header::CONTENT_LENGTH,
            header::CONTENT_LOCATION,
            header::CONTENT_RANGE,
            header::ETAG,
            header::LAST_MODIFIED,
            header::LOCATION,
            HeaderName::from_static(headers::REPR_DIGEST),
            HeaderName::from_static(headers::EXPIRES_AT),
            HeaderName::from_static(headers::ENVELOPE),
            HeaderName::from_static(headers::VERSION_ID),
            header::RETRY_AFTER,
            HeaderName::from_static(headers::tus::RESUMABLE),
            HeaderName::from_static(headers::tus::VERSION),
            HeaderName::from_static(headers::tus::EXTENSION),
            HeaderName::from_static(headers::tus::MAX_SIZE),
            HeaderName::from_static(headers::tus::CHECKSUM_ALGORITHM),
            HeaderName::from_static(headers::tus::LENGTH),
            HeaderName::from_static(headers::tus::DEFER_LENGTH),
            HeaderName::from_static(headers::tus::OFFSET),
            HeaderName::from_static(headers::tus::METADATA),
            HeaderName::from_static(headers::tus::EXPIRES),
            rate_limit::RATE_LIMIT,
            rate_limit::RATE_LIMIT_POLICY,
            observe::REQUEST_ID,
        ])
}

fn answer_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    problem::Problem::internal(format!("a handler panicked: {text}")).into_response()
}

/// `GET /metrics`, on a listener of its own.
pub fn metrics_router(coordinator: &Coordinator, jobs: Statuses) -> Router {
    async fn metrics(
        State(metrics): State<Arc<Metrics>>,
        State(nodes): State<Arc<Nodes>>,
        State(peers): State<PeerNetwork>,
        State(job_metrics): State<Arc<JobMetrics>>,
        State(shares): State<Arc<ShareMetrics>>,
        State(files): State<Arc<Files>>,
        State(jobs): State<Statuses>,
    ) -> Response {
        nodes.metrics.measure(&peers).await;
        job_metrics.measure(&jobs.snapshot());
        let downloads = ("downloads", &files.download_memory);
        let budgets = files.upload_memory.budgets().into_iter().chain([downloads]);
        shares.measure(&files.db, budgets);
        match metrics.encode() {
            Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    Router::new()
        .route("/metrics", routing::get(metrics))
        .route(paths::LOCAL_JOBS, routing::get(jobs::local))
        .layer(middleware::from_fn_with_state(
            coordinator.config.metrics.listen,
            guards::check_host,
        ))
        .with_state(ApiState::of(coordinator, jobs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_served_is_what_the_contract_names() {
        let (_, description) = api(Duration::from_secs(1)).split_for_parts();
        let served: BTreeSet<_> = description.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(served, paths::ALL.into_iter().collect());
    }
}
