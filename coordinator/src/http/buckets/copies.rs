//! Copying, moving and bringing back: a key points elsewhere, and no bytes move.

use std::sync::Arc;

use api::buckets::{CopyBody, RestoreBody};
use api::paths;
use axum::extract::State;
use axum::response::Response;
use gateway::said;
use gateway::store::Action;
use http::StatusCode;
use model::ids::VersionId;
use model::objects::{Bucket, Described, ObjectVersion, TargetRefusal, VersionRef, Versioning};

use super::caller::BucketCaller;
use super::object::{find, version_of, written};
use crate::accounts::Accounts;
use crate::http::authorization::charge;
use crate::http::extract::{Id, Json};
use crate::http::problem::Problem;
use crate::http::uploads::price;
use crate::objects::moving::Destination;
use crate::objects::{ObjectError, Objects, copy, get, moving};

/// Copy an object, within an account. A copy costs as much as a small object does.
#[utoipa::path(post, path = paths::BUCKET_COPY, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), request_body = CopyBody, responses(
    (status = 201, body = api::buckets::Object, headers(("ETag" = String), ("x-fsn-version-id" = String))),
    (status = 403, description = "A bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket, key or version"),
    (status = 412, description = "The latest version is not what the condition says")))]
pub(in crate::http) async fn copy(
    State(objects): State<Arc<Objects>>,
    State(accounts): State<Arc<Accounts>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Json(body): Json<CopyBody>,
) -> Result<Response, Problem> {
    let from = caller
        .bucket_at(&objects, Action::Read, &name, &body.key)
        .await?;
    let target = body.to.bucket.clone().unwrap_or(name);
    let to = caller
        .bucket_at(&objects, Action::Write, &target, &body.to.key)
        .await?;
    let source = find(&objects, &from, &body.key, version_of(body.version)).await?;
    let key = to.key(body.to.key.clone())?;
    let said = copy::described(&objects, &source, key).await?;
    let parts = get::parts(&objects, &source).await?.len();
    let described = said::of_target(said, body.to, parts, objects.clock.now())?;
    let cost = price(
        &objects.files,
        described.terms(0),
        0,
        objects.files.blobs.copies(),
    )?;
    charge(&accounts, caller.principal(), 0, cost).await?;
    copied(&objects, &caller, &source, &to, described).await
}

async fn copied(
    objects: &Objects,
    caller: &BucketCaller,
    source: &ObjectVersion,
    to: &Bucket,
    described: Described,
) -> Result<Response, Problem> {
    let id = copy::copy(objects, caller.holder(), source, to, described.clone()).await?;
    told(objects, to, described.key.as_str(), id).await
}

async fn told(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    id: VersionId,
) -> Result<Response, Problem> {
    let version = match get::find(objects, bucket, key, VersionRef::Id(id)).await {
        Err(ObjectError::NoSuchVersion) => return Err(TargetRefusal::Conflict.into()),
        found => found?,
    };
    written(
        StatusCode::CREATED,
        paths::object(&bucket.name, key),
        version,
    )
}

/// Move an object: the same version goes by another key. Where versions are kept, it is a copy, and then a deletion.
#[utoipa::path(post, path = paths::BUCKET_MOVE, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), request_body = CopyBody, responses(
    (status = 201, body = api::buckets::Object, headers(("ETag" = String), ("x-fsn-version-id" = String))),
    (status = 403, description = "A bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket or key"),
    (status = 409, description = "Somebody else wrote one of the keys at the same moment"),
    (status = 412, description = "The latest version is not what the condition says")))]
pub(in crate::http) async fn rename(
    State(objects): State<Arc<Objects>>,
    State(accounts): State<Arc<Accounts>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Json(body): Json<CopyBody>,
) -> Result<Response, Problem> {
    let CopyBody { key, version, to } = body;
    let changes = to.content_type.is_some()
        || to.metadata.is_some()
        || to.expires_at.is_some()
        || to.envelope.is_some();
    if changes || version.is_some() {
        return Err(Problem::invalid(
            "What is moved is the latest version, and stays as it is: copy it to change what is said of it.",
        ));
    }
    caller.check_at(Action::Delete, &name, &key)?;
    let from = caller
        .bucket_at(&objects, Action::Read, &name, &key)
        .await?;
    let target = to.bucket.as_deref().unwrap_or(&name);
    let target = caller
        .bucket_at(&objects, Action::Write, target, &to.key)
        .await?;
    let condition = said::condition(to.if_match.as_deref(), to.if_none_match.as_deref())?;
    let (key, to_key) = (from.key(key)?, target.key(to.key)?);
    if from.versioning != Versioning::Off || target.versioning != Versioning::Off {
        let source = find(&objects, &from, key.as_str(), VersionRef::Latest).await?;
        let described = copy::described(&objects, &source, to_key.clone()).await?;
        let copies = objects.files.blobs.copies();
        let cost = price(&objects.files, described.terms(0), 0, copies)?;
        for _ in ["the copy", "the marker"] {
            charge(&accounts, caller.principal(), 0, cost).await?;
        }
    }
    let destination = Destination {
        bucket: &target,
        key: &to_key,
        condition,
    };
    let id = moving::rename(&objects, caller.holder(), (&from, &key), destination).await?;
    told(&objects, &target, to_key.as_str(), id).await
}

/// Bring a version back: it becomes the key's latest, as one of its own.
#[utoipa::path(post, path = paths::BUCKET_RESTORE, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), request_body = RestoreBody, responses(
    (status = 201, body = api::buckets::Object, headers(("ETag" = String), ("x-fsn-version-id" = String))),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket, key or version")))]
pub(in crate::http) async fn restore(
    State(objects): State<Arc<Objects>>,
    State(accounts): State<Arc<Accounts>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Json(body): Json<RestoreBody>,
) -> Result<Response, Problem> {
    caller.check_at(Action::Read, &name, &body.key)?;
    let bucket = caller
        .bucket_at(&objects, Action::Write, &name, &body.key)
        .await?;
    let source = find(&objects, &bucket, &body.key, version_of(Some(body.version))).await?;
    let key = bucket.key(body.key)?;
    let described = copy::described(&objects, &source, key).await?;
    let cost = price(
        &objects.files,
        described.terms(0),
        0,
        objects.files.blobs.copies(),
    )?;
    charge(&accounts, caller.principal(), 0, cost).await?;
    copied(&objects, &caller, &source, &bucket, described).await
}
