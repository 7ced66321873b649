//! `/buckets/{bucket}/objects/{key}`: an object's bytes, in and out.

use std::sync::Arc;

use api::buckets::{ENVELOPE_BYTES_IN_A_HEADER, ObjectParams};
use api::problem::ProblemKind;
use api::{headers, paths};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use gateway::inert;
use gateway::said;
use gateway::store::Action;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use model::ids::VersionId;
use model::objects::{Bucket, Deleted, ObjectVersion, VersionRef};
use proto::MicroCredits;

use super::caller::BucketCaller;
use crate::accounts::{Accounts, recovery};
use crate::http::authorization::charge;
use crate::http::conditions::Validators;
use crate::http::digests::Declared;
use crate::http::extract::{Json, Params};
use crate::http::paced_body::PacedBody;
use crate::http::problem::Problem;
use crate::http::served::Served;
use crate::http::uploads::{Sent, charge_body, content_type, expect_body, length, price};
use crate::objects::{Objects, delete, get, put};

/// Where the router finds keys: with their slashes, which the description of a path has no form for.
pub(in crate::http) const ROUTE: &str = "/api/v1/buckets/{bucket}/objects/{*key}";

/// Bucket and key of the path.
type Place = Result<Path<(String, String)>, axum::extract::rejection::PathRejection>;

fn place(place: Place) -> Result<(String, String), Problem> {
    let Path(place) = place.map_err(|_| {
        Problem::invalid("The key is not UTF-8: percent-encode the bytes of its UTF-8 form.")
    })?;
    Ok(place)
}

pub(super) fn version_of(asked: Option<uuid::Uuid>) -> VersionRef {
    asked.map_or(VersionRef::Latest, |id| {
        VersionRef::Id(VersionId::from_uuid(id))
    })
}

/// Store an object: the bytes as they are, of known length or chunked. The key points to them once all are safe.
#[utoipa::path(put, path = ROUTE, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), ("key" = String, Path, description = "With its slashes"),
        ("x-fsn-meta-NAME" = Option<String>, Header, description = "Kept, and handed back"),
        ("x-fsn-expires-at" = Option<String>, Header, description = "When it is deleted (RFC 3339)"),
        ("x-fsn-envelope" = Option<String>, Header, description = "What an end-to-end client keeps with it, in Base64"),
        ("If-Match" = Option<String>, Header, description = "Only if the latest version has this ETag"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such key")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, body = api::buckets::Object, headers(("ETag" = String), ("x-fsn-version-id" = String))),
    (status = 400, description = "The bytes are not those of the digest, or it is no request for this"),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket"),
    (status = 409, description = "Somebody else wrote the key at the same moment"),
    (status = 412, description = "The latest version is not what the condition says"),
    (status = 413, description = "The object is longer than this network takes")))]
pub(in crate::http) async fn put(
    State(objects): State<Arc<Objects>>,
    State(accounts): State<Arc<Accounts>>,
    caller: BucketCaller,
    at: Place,
    Declared(declared): Declared,
    request: Request,
) -> Result<Response, Problem> {
    let (name, key) = place(at)?;
    let bucket = caller
        .bucket_at(&objects, Action::Write, &name, &key)
        .await?;
    let key = bucket.key(key)?;
    let headers = request.headers().clone();
    let Sent::Raw(given_type) = Sent::of(&headers)? else {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "A form is not taken here: an object is sent as its bytes alone (`curl -T FILE`).",
        ));
    };
    let now = objects.clock.now();
    let described = said::of_headers(key, content_type(given_type)?, &headers, now)?;
    expect_body(&headers, request.body())?;
    recovery::demand_verified(&accounts, bucket.owner).await?;
    let size_bytes = length(&headers);
    let copies = objects.files.blobs.copies();
    let cost = |bytes| price(&objects.files, described.terms(bytes), bytes, copies);
    charge_body(&accounts, caller.principal(), size_bytes, cost).await?;
    let body = PacedBody::new(request.into_body(), objects.files.idle_timeout);
    let sent = (size_bytes, declared);
    let stored = put::put_unsummed(&objects, caller.holder(), &bucket, described, sent, body);
    let version = stored.await?;
    let location = paths::object(&bucket.name, &version.key);
    written(StatusCode::CREATED, location, version)
}

/// The answer to whoever has written an object.
pub(super) fn written(
    status: StatusCode,
    location: String,
    version: ObjectVersion,
) -> Result<Response, Problem> {
    let headers = [
        (header::LOCATION, location),
        (header::ETAG, format!("\"{}\"", version.etag)),
        (
            HeaderName::from_static(headers::VERSION_ID),
            version.id.to_string(),
        ),
    ];
    Ok((status, headers, Json(said::object(version, None))).into_response())
}

/// Read an object. `Range` (one range), the conditions `If-…` and `HEAD` work as RFC 9110 says.
#[utoipa::path(method(get, head), path = ROUTE, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), ("key" = String, Path, description = "With its slashes"), ObjectParams), responses(
    (status = 200, description = "The object", body = Vec<u8>, content_type = "application/octet-stream",
        headers(("ETag" = String), ("x-fsn-version-id" = String))),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "The client has it already"),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket, key or version"),
    (status = 412, description = "It is not the one that If-Match names"),
    (status = 416, description = "The range lies outside of it"),
    (status = 503, description = "No copy of a chunk can be read right now")))]
pub(in crate::http) async fn read(
    State(objects): State<Arc<Objects>>,
    State(accounts): State<Arc<Accounts>>,
    caller: BucketCaller,
    at: Place,
    Params(params): Params<ObjectParams>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, key) = place(at)?;
    let bucket = caller
        .bucket_at(&objects, Action::Read, &name, &key)
        .await?;
    let version = find(&objects, &bucket, &key, version_of(params.version)).await?;
    let mut envelope = None;
    if params.envelope == Some(true) {
        let mut found = get::envelopes(&objects, &[version.id]).await?;
        envelope = found.remove(&version.id);
        envelope = envelope.filter(|found| found.as_bytes().len() <= ENVELOPE_BYTES_IN_A_HEADER);
    }
    let filename = version.key.rsplit('/').find(|name| !name.is_empty());
    let served = Served {
        size: version.size_bytes,
        content_type: &version.content_type,
        disposition: inert::attachment(filename.unwrap_or("object")),
        sha256: None,
        validators: Validators::new(&version.etag, version.created_at),
    };
    let asked = served.asked(&method, &headers)?;
    let bytes = asked.bytes(&method, served.size);
    let length = bytes.end - bytes.start;
    let body = if length == 0 {
        Body::empty()
    } else {
        let principal = caller.principal();
        charge(&accounts, principal, length, MicroCredits::ZERO).await?;
        let parts = get::parts(&objects, &version).await?;
        let holder = caller.holder();
        Body::from_stream(get::read(&objects, bucket.owner, &parts, &bytes, holder).await?)
    };
    let mut response = served.answer(&asked, body)?;
    said::add_to(response.headers_mut(), &version, envelope.as_ref());
    Ok(response)
}

/// The version. Keys that are longer than any that can be are of none.
pub(super) async fn find(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    version: VersionRef,
) -> Result<ObjectVersion, Problem> {
    let key = bucket.key(key.to_owned())?;
    Ok(get::find(objects, bucket, key.as_str(), version).await?)
}

/// Delete a key, whose versions stay where the bucket keeps them; or, with `version`, a version for good.
#[utoipa::path(delete, path = ROUTE, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), ("key" = String, Path, description = "With its slashes"), ObjectParams,
        ("If-Match" = Option<String>, Header, description = "Only if the version has this ETag")), responses(
    (status = 204, description = "Deleted; of a key whose versions stay, x-fsn-version-id is that of the marker"),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket, key or version"),
    (status = 412, description = "It is not the one that If-Match names")))]
pub(in crate::http) async fn remove(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    at: Place,
    Params(params): Params<ObjectParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, key) = place(at)?;
    let bucket = caller
        .bucket_at(&objects, Action::Delete, &name, &key)
        .await?;
    let key = bucket.key(key)?;
    let condition = said::condition_of(&headers)?;
    let version = version_of(params.version);
    let deleted = match version {
        VersionRef::Latest => {
            // A marker before nothing, or before another one, says nothing.
            get::find(&objects, &bucket, key.as_str(), version).await?;
            delete::key(&objects, caller.holder(), &bucket, &key, condition).await?
        }
        version => delete::version(&objects, &bucket, &key, version, &condition).await?,
    };
    let id = match deleted {
        Deleted::Nothing => return Err(Problem::not_found("key or version in the bucket")),
        Deleted::Version(version) => version.id,
        Deleted::Marked(marker) => marker,
    };
    let told = [(HeaderName::from_static(headers::VERSION_ID), id.to_string())];
    Ok((StatusCode::NO_CONTENT, told).into_response())
}
