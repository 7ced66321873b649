//! What is in a bucket, and what has happened in it.

use std::collections::HashMap;
use std::sync::Arc;

use api::buckets::{
    Change, Changes, ChangesParams, EntryParams, MOST_WITH_ENVELOPES, Object, Objects as Page,
    ObjectsParams,
};
use api::page::PageParams;
use api::paths;
use axum::extract::State;
use gateway::said;
use gateway::store::Action;
use model::ids::VersionId;
use model::objects::{Bucket, Envelope, ListEntry, ListPage};
use rules::listing::{Listing, Start};

use super::caller::BucketCaller;
use super::object::{find, version_of};
use crate::http::extract::{Id, Json, Params};
use crate::http::page;
use crate::http::problem::Problem;
use crate::objects::{Objects, changes, get, listing};

fn limit(asked: Option<u16>) -> Result<usize, Problem> {
    page::limit(&PageParams {
        limit: asked,
        cursor: None,
    })
}

/// A bucket's objects, in the order of their keys' bytes.
#[utoipa::path(get, path = paths::BUCKET_OBJECTS, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), ObjectsParams), responses(
    (status = 200, body = Page),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket")))]
pub(in crate::http) async fn list(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Params(params): Params<ObjectsParams>,
) -> Result<Json<Page>, Problem> {
    let prefix = params.prefix.unwrap_or_default();
    let bucket = caller
        .bucket_at(&objects, Action::List, &name, &prefix)
        .await?;
    let with_envelopes = params.envelope == Some(true);
    let mut limit = limit(params.limit)?;
    if with_envelopes {
        limit = limit.min(usize::from(MOST_WITH_ENVELOPES));
    }
    let all = params.versions == Some(true);
    if params.after_version.is_some() && (!all || params.after.is_none()) {
        return Err(Problem::invalid(
            "`after_version` goes with `versions` and `after`.",
        ));
    }
    let delimiter = params.delimiter.unwrap_or_default();
    let start = match params.after.as_deref().filter(|after| !after.is_empty()) {
        None => Some(Start::beginning()),
        // Older versions of this very key come first.
        Some(after) if params.after_version.is_some() => Some(Start::after_key(after)),
        Some(after) => Start::after_marker(after, &prefix, &delimiter),
    };
    let Some(start) = start else {
        return Ok(Json(told(Vec::new(), &HashMap::new(), false)));
    };
    let asked = Listing {
        prefix,
        delimiter,
        start,
        limit: limit as u32,
    };
    let (entries, more) = match all {
        false => {
            let ListPage { entries, next } = listing::keys(&objects, &bucket, &asked).await?;
            (entries, next.is_some())
        }
        true => {
            let behind = params.after_version.map(VersionId::from_uuid);
            let page = listing::versions(&objects, &bucket, &asked, behind).await?;
            (page.entries, page.next.is_some())
        }
    };
    let envelopes = match with_envelopes {
        true => envelopes(&objects, &entries).await?,
        false => HashMap::new(),
    };
    let mut page = told(entries, &envelopes, more);
    if !all {
        page.next_after_version = None;
    }
    Ok(Json(page))
}

async fn envelopes(
    objects: &Objects,
    entries: &[ListEntry],
) -> Result<HashMap<VersionId, Envelope>, Problem> {
    let ids = entries.iter().filter_map(|entry| match entry {
        ListEntry::Object(version) => Some(version.id),
        ListEntry::Prefix(_) => None,
    });
    let ids: Vec<VersionId> = ids.collect();
    Ok(get::envelopes(objects, &ids).await?)
}

fn told(entries: Vec<ListEntry>, envelopes: &HashMap<VersionId, Envelope>, more: bool) -> Page {
    let mut page = Page {
        items: Vec::new(),
        prefixes: Vec::new(),
        next_after: None,
        next_after_version: None,
    };
    if more {
        (page.next_after, page.next_after_version) = match entries.last() {
            Some(ListEntry::Object(version)) => {
                (Some(version.key.clone()), Some(version.id.as_uuid()))
            }
            Some(ListEntry::Prefix(prefix)) => (Some(prefix.clone()), None),
            None => (None, None),
        };
    }
    for entry in entries {
        match entry {
            ListEntry::Object(version) => {
                let envelope = envelopes.get(&version.id);
                page.items.push(said::object(version, envelope));
            }
            ListEntry::Prefix(prefix) => page.prefixes.push(prefix),
        }
    }
    page
}

/// What is known of an object, its envelope too.
#[utoipa::path(get, path = paths::BUCKET_ENTRY, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), EntryParams), responses(
    (status = 200, body = Object),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket, key or version")))]
pub(in crate::http) async fn entry(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Params(params): Params<EntryParams>,
) -> Result<Json<Object>, Problem> {
    let EntryParams { key, version } = params;
    let bucket: Bucket = caller
        .bucket_at(&objects, Action::Read, &name, &key)
        .await?;
    let version = find(&objects, &bucket, &key, version_of(version)).await?;
    let envelopes = get::envelopes(&objects, &[version.id]).await?;
    let envelope = envelopes.get(&version.id);
    let parts = get::parts(&objects, &version).await?;
    // Part 0 has no bytes.
    let parts = parts
        .iter()
        .filter(|part| part.number > 0 || parts.len() == 1);
    let file_ids = parts.map(|part| part.file_id).collect();
    Ok(Json(Object {
        file_ids: Some(file_ids),
        ..said::object(version, envelope)
    }))
}

/// What has happened to a bucket's keys, deletions included, in order and without a gap. Changes are kept for 90 days.
#[utoipa::path(get, path = paths::BUCKET_CHANGES, tag = "buckets", security(("bearer" = []), ("access_key" = [])),
    params(("bucket" = String, Path), ChangesParams), responses(
    (status = 200, body = Changes),
    (status = 403, description = "The bucket is somebody else's, or the access key is not for this"),
    (status = 404, description = "There is no such bucket"),
    (status = 410, description = "Changes behind `after` are gone: list the bucket anew")))]
pub(in crate::http) async fn feed(
    State(objects): State<Arc<Objects>>,
    caller: BucketCaller,
    Id(name): Id<String>,
    Params(params): Params<ChangesParams>,
) -> Result<Json<Changes>, Problem> {
    let bucket = caller.bucket_at(&objects, Action::List, &name, "").await?;
    let limit = limit(params.limit)? as i64;
    let after = i64::try_from(params.after.unwrap_or(0));
    let after = after.map_err(|_| Problem::invalid("`after` is the `seq` of a change."))?;
    let (found, last) = changes::since(&objects, &bucket, after, limit).await?;
    let items = found.into_iter().map(|change| Change {
        seq: change.seq.unsigned_abs(),
        key: change.key,
        version_id: change.version.as_uuid(),
        what: change.what,
        at: change.at,
    });
    Ok(Json(Changes {
        items: items.collect(),
        last_seq: last.unsigned_abs(),
    }))
}
