//! What handlers take from requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::headers;
use api::problem::ProblemKind;
use axum::extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::{client_address, digests};
use crate::accounts::session::Device;
use crate::config::HttpConfig;
use model::storage_class::StorageClass;

/// JSON bodies are small.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// A JSON body, in and out: an object. A `Content-Type` is not asked for, and may be the one of forms, which `curl -d`
/// sends.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read_json(request).await?;
        let body =
            body.ok_or_else(|| Problem::invalid("The request needs a JSON object as its body."))?;
        Ok(Self(body))
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request).await.map(Self)
    }
}

/// `None` for an empty body.
async fn read_json<T: DeserializeOwned>(request: Request) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    let form = may_be_json(&parts.headers)?;
    let declared = digests::declared(&parts.headers)?;
    let bytes: Bytes = Limited::new(body, MAX_JSON_BYTES)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let detail = format!("A JSON body may have at most {MAX_JSON_BYTES} bytes.");
                return Problem::new(ProblemKind::BodyTooLarge, detail);
            }
            Problem::invalid(format!("The request body broke off: {error}."))
        })?
        .to_bytes();
    if !digests::check(&declared, &bytes) {
        return Err(Problem::new(
            ProblemKind::DigestMismatch,
            "The body is not the one that the digest was taken of. Nothing was done; send it again.",
        ));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    // An array would be taken for the members in their order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(match form {
            Typed::Form => not_json("A form is not taken here"),
            Typed::Json => Problem::invalid("The body has to be a JSON object, `{…}`."),
        });
    }
    let body = serde_json::from_slice(&bytes);
    body.map(Some)
        .map_err(|error| Problem::invalid(format!("The JSON body cannot be used: {error}.")))
}

/// What a body says of itself.
enum Typed {
    Json,
    Form,
}

fn may_be_json(headers: &HeaderMap) -> Result<Typed, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Typed::Json);
    };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
    if charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
        return Err(not_json("JSON is UTF-8, and this body says that it is not"));
    }
    match essence {
        "application/json" => Ok(Typed::Json),
        "application/x-www-form-urlencoded" => Ok(Typed::Form),
        other if other.starts_with("application/") && other.ends_with("+json") => Ok(Typed::Json),
        "multipart/form-data" => Err(not_json("A form is not taken here")),
        _ => Err(not_json("The body's Content-Type is not that of JSON")),
    }
}

fn not_json(what: &str) -> Problem {
    let detail = format!("{what}: send a JSON object, with `Content-Type: application/json`.");
    Problem::new(ProblemKind::UnsupportedMediaType, detail)
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A path parameter. One that cannot be an id names nothing: 404.
#[derive(Debug)]
pub(super) struct Id<T>(pub T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| Problem::not_found("thing: the id in the path is not a UUID"))
    }
}

/// Query parameters.
#[derive(Debug)]
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err(Problem::invalid(
                "The query is not UTF-8: percent-encode the bytes of its UTF-8 form.",
            ));
        }
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|error| {
            Problem::invalid(format!("The query cannot be used: {}.", error.body_text()))
        })
    }
}

/// A client's `Idempotency-Key`, if it sent one.
#[derive(Debug)]
pub(super) struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(headers::IDEMPOTENCY_KEY) else {
            return Ok(Self(None));
        };
        match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid(
                "An Idempotency-Key has 1 to 255 printable ASCII characters.",
            )),
        }
    }
}

/// What the headers of an upload ask for.
#[derive(Debug)]
pub(super) struct UploadHead {
    pub idempotency_key: Option<String>,
    pub class: StorageClass,
}

impl<S: Send + Sync> FromRequestParts<S> for UploadHead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IdempotencyKey(idempotency_key) =
            IdempotencyKey::from_request_parts(parts, state).await?;
        let class = match parts.headers.get(headers::CLASS) {
            None => StorageClass::default(),
            Some(value) => {
                let class = value.to_str().ok().and_then(|name| name.parse().ok());
                class.ok_or_else(|| {
                    Problem::invalid(
                        "X-FSN-Class is `standard` or `dense`: `GET classes` tells what they are.",
                    )
                })?
            }
        };
        Ok(Self {
            idempotency_key,
            class,
        })
    }
}

/// From where somebody asks, and with what program.
#[derive(Debug)]
pub(super) struct FromDevice(pub Device);

impl<S: Send + Sync> FromRequestParts<S> for FromDevice
where
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
        let agent = parts.headers.get(header::USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Ok(Self(Device::new(address, &agent.unwrap_or_default())))
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddr(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddr
where
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let connected = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(addr)| addr.ip());
        let config = Arc::<HttpConfig>::from_ref(state);
        let addr = connected.map(|addr| client_address::client_of(&config, addr, &parts.headers));
        addr.map(Self)
            .ok_or_else(|| Problem::internal("a request without a peer address"))
    }
}
