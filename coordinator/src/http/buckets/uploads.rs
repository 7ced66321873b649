//! Uploads in steps that become an object: where that is to lie, and whether the caller may bring it there.

use api::buckets::ObjectTarget;
use api::files::File;
use api::{headers, paths};
use gateway::said;
use gateway::store::Action;
use http::{HeaderName, StatusCode, header};
use model::ids::UploadId;
use model::names::ContentType;
use model::objects::{Bucket, ContentSum, Described};

use super::caller::BucketCaller;
use crate::files::listing;
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::objects::Objects;
use crate::objects::stepwise::{self, Aim};
use credentials::scope::Scope;

/// The bucket that a target is in, and what is said of the object.
pub(in crate::http) async fn target(
    objects: &Objects,
    caller: &BucketCaller,
    target: ObjectTarget,
    content_type: ContentType,
) -> Result<(Bucket, Described), Problem> {
    let Some(name) = &target.bucket else {
        return Err(Problem::invalid(
            "The `target` of an upload names its `bucket`.",
        ));
    };
    let bucket = caller
        .bucket_at(objects, Action::Write, name, &target.key)
        .await?;
    let said = Described {
        content_type,
        ..Described::plain(bucket.key(target.key.clone())?)
    };
    let described = said::of_target(said, target, 1, objects.clock.now())?;
    Ok((bucket, described))
}

/// Whether the caller may go on with an upload: a key that is for one bucket, if what it becomes lies there.
pub(in crate::http) async fn may_go_on(
    objects: &Objects,
    caller: &BucketCaller,
    upload: UploadId,
) -> Result<(), Problem> {
    let principal = caller.principal();
    if caller.0.bucket.is_some()
        && let Some(aim) = stepwise::aim(objects, principal.user_id, upload).await?
    {
        let key = aim.object.described.key.as_str();
        return caller.check_at(Action::Write, &aim.bucket, key);
    }
    Ok(principal.check(Scope::Write)?)
}

type Completed = (StatusCode, [(HeaderName, String); 3], Json<File>);

/// The file, and in the head the object that it has become.
pub(in crate::http) fn completed(aim: &Aim, file: model::file::File) -> Completed {
    let version = aim.object.version;
    let etag = ContentSum::of_version(version).etag;
    let key = aim.object.described.key.as_str();
    let told = [
        (header::LOCATION, paths::object(&aim.bucket, key)),
        (header::ETAG, format!("\"{etag}\"")),
        (
            HeaderName::from_static(headers::VERSION_ID),
            version.to_string(),
        ),
    ];
    (StatusCode::CREATED, told, Json(listing::described(file)))
}
