//! `/buckets`: names, and in each of them keys that point to stored bytes. The same as over S3, by the same use-cases.

pub(super) mod caller;
pub(super) mod copies;
pub(super) mod lists;
pub(super) mod object;
mod rules;
pub(super) mod uploads;

use std::sync::Arc;

use api::buckets::{Bucket, BucketChange, Buckets, NewBucket};
use api::paths;
use axum::extract::State;
use gateway::store::Action;
use http::{HeaderName, StatusCode, header};
use model::bucket_rules::BucketRules;
use model::names::BucketName;
use model::objects::{self as stored, Names, Versioning};

use self::caller::BucketCaller;
use super::extract::{Id, Json};
use super::problem::Problem;
use crate::objects::bucket_rules::{self as set, RulesError};
use crate::objects::{Objects, buckets};

/// Make a bucket. Its name is unique in the network; that of one that was deleted rests for 30 days.
#[utoipa::path(post, path = paths::BUCKETS, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    request_body = NewBucket, responses(
    (status = 201, body = Bucket),
    (status = 403, description = "The account has as many buckets as it may"),
    (status = 409, description = "The name is taken, or rests")))]
pub(super) async fn create(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Json(body): Json<NewBucket>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Bucket>), Problem> {
    let name = BucketName::try_from(body.name)?;
    caller.check_everywhere(|rights| rights.write)?;
    let versioning = match body.versioning.as_deref() {
        None | Some("off") => Versioning::Off,
        Some("enabled") => Versioning::Enabled,
        Some(_) => return Err(Problem::invalid("`versioning` is `off` or `enabled`.")),
    };
    let names = match body.names.as_deref() {
        None | Some("plain") => Names::Plain,
        Some("sealed") => Names::Sealed,
        Some(_) => return Err(Problem::invalid("`names` is `plain` or `sealed`.")),
    };
    let user = caller.principal().user_id;
    let bucket = buckets::create(&objects, user, &name, (versioning, names)).await?;
    let location = [(header::LOCATION, paths::bucket(&bucket.name))];
    Ok((StatusCode::CREATED, location, Json(view(bucket, None))))
}

/// The account's buckets, in order of name.
#[utoipa::path(get, path = paths::BUCKETS, tag = "buckets", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = Buckets)))]
pub(super) async fn list(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
) -> Result<Json<Buckets>, Problem> {
    caller.check_everywhere(|rights| rights.list)?;
    let found = buckets::list(&objects, caller.principal().user_id).await?;
    let items = found.into_iter().map(|bucket| view(bucket, None));
    let items = items.collect();
    Ok(Json(Buckets { items }))
}

/// One bucket.
#[utoipa::path(get, path = paths::BUCKET, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), responses(
    (status = 200, body = Bucket),
    (status = 403, description = "It is somebody else's"),
    (status = 404, description = "There is no such bucket")))]
pub(super) async fn one(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
) -> Result<Json<Bucket>, Problem> {
    caller
        .0
        .may(Action::List, &name)
        .map_err(caller::not_allowed)?;
    let bucket = objects.bucket(caller.principal().user_id, &name).await?;
    let rules = set::of(&objects, &bucket).await?;
    Ok(Json(view(bucket, Some(rules))))
}

/// Change a bucket: whether it keeps versions, which web pages may ask for its objects, how long they are kept, and what
/// anybody may read.
#[utoipa::path(patch, path = paths::BUCKET, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), request_body = BucketChange, responses(
    (status = 200, body = Bucket),
    (status = 403, description = "It is somebody else's"),
    (status = 404, description = "There is no such bucket")))]
pub(super) async fn change(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Json(body): Json<BucketChange>,
) -> Result<Json<Bucket>, Problem> {
    let bucket = caller.bucket_at(&objects, Action::Write, &name, "").await?;
    let keep = match body.versioning.as_deref() {
        None => None,
        Some("enabled") => Some(true),
        Some("suspended") => Some(false),
        Some(_) => {
            return Err(Problem::invalid(
                "`versioning` is `enabled` or `suspended`: versions that were kept once are not forgotten.",
            ));
        }
    };
    let changes = rules::changes(body);
    for change in &changes {
        let may = caller.0.may_set(change, &name);
        may.map_err(caller::not_allowed)?;
        change.check().map_err(RulesError::from)?; // all, or nothing
    }
    for change in &changes {
        set::change(&objects, &bucket, change).await?;
    }
    if let Some(keep) = keep {
        buckets::keep_versions(&objects, &bucket, keep).await?;
    }
    let bucket = objects.bucket(caller.principal().user_id, &name).await?;
    let rules = set::of(&objects, &bucket).await?;
    Ok(Json(view(bucket, Some(rules))))
}

/// Delete an empty bucket.
#[utoipa::path(delete, path = paths::BUCKET, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 403, description = "It is somebody else's"),
    (status = 404, description = "There is no such bucket"),
    (status = 409, description = "It is not empty")))]
pub(super) async fn delete(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
) -> Result<StatusCode, Problem> {
    let bucket = caller
        .bucket_at(&objects, Action::Delete, &name, "")
        .await?;
    buckets::delete(&objects, &bucket).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(bucket: stored::Bucket, rules: Option<BucketRules>) -> Bucket {
    Bucket {
        bucket_id: bucket.id.as_uuid(),
        name: bucket.name,
        versioning: bucket.versioning.name().to_owned(),
        names: bucket.names.name().to_owned(),
        created_at: bucket.created_at,
        rules: rules.map(rules::view),
    }
}
