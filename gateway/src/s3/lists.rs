//! Lists of keys and of versions.

use model::ids::VersionId;
use model::objects::{ListEntry, ObjectVersion as Version, VersionRef};
use rules::listing::{Listing, Start};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::encoding::{self, Encoding};
use super::errors::{invalid, of_store};
use super::face::{CallerOf, Face, On};
use super::texts::{etag, some, time, version_ref};
use super::versions::version_text;
use crate::store::{Action, ObjectStore};

/// The most that a page has.
const LONGEST_PAGE: i32 = 1000;

pub(super) fn limit(asked: Option<i32>) -> S3Result<u32> {
    let limit = asked.unwrap_or(LONGEST_PAGE);
    match u32::try_from(limit.min(LONGEST_PAGE)) {
        Ok(limit) => Ok(limit),
        Err(_) => Err(invalid(
            "the number of entries that are asked for is not negative",
        )),
    }
}

impl<S: ObjectStore> Face<S> {
    pub(super) fn owner(&self, caller: &CallerOf<S>) -> Owner {
        Owner {
            id: Some(self.store.owner(&caller.account)),
            display_name: None,
        }
    }
}

fn object(version: &Version, encoding: Encoding, owner: Option<Owner>) -> Object {
    let algorithm = version
        .checksum
        .as_ref()
        .map(|checksum| vec![ChecksumAlgorithm::from(checksum.algorithm.clone())]);
    Object {
        checksum_algorithm: algorithm,
        e_tag: Some(etag(version)),
        key: Some(encoding.text(&version.key)),
        last_modified: Some(time(version.created_at)),
        owner,
        size: Some(version.size_bytes as i64),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    }
}

/// Objects, and what others begin with.
fn divided(
    entries: &[ListEntry],
    encoding: Encoding,
    owner: Option<&Owner>,
) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            ListEntry::Object(version) => objects.push(object(version, encoding, owner.cloned())),
            ListEntry::Prefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encoding.text(prefix)),
            }),
        }
    }
    (objects, prefixes)
}

/// Where a page ends, in the words of version 1: the last entry.
fn last(entries: &[ListEntry]) -> &str {
    match entries.last() {
        Some(ListEntry::Object(version)) => &version.key,
        Some(ListEntry::Prefix(prefix)) => prefix,
        None => "",
    }
}

impl<S: ObjectStore> On<ListObjectsInput, ListObjectsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let marker = input.marker.unwrap_or_default();
        let limit = limit(input.max_keys)?;
        let bucket = self
            .bucket_at(&caller, Action::List, &input.bucket, &prefix)
            .await?;
        let start = match marker.as_str() {
            "" => Some(Start::beginning()),
            marker => Start::after_marker(marker, &prefix, &delimiter),
        };
        let listing = start.map(|start| Listing {
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            start,
            limit,
        });
        let (entries, is_truncated) = match listing {
            Some(listing) => {
                let page = self.store.list(&bucket, &listing).await.map_err(of_store)?;
                (page.entries, page.next.is_some())
            }
            None => (Vec::new(), false),
        };
        let owner = self.owner(&caller);
        let (contents, common_prefixes) = divided(&entries, encoding, Some(&owner));
        let next_marker =
            (is_truncated && !delimiter.is_empty()).then(|| encoding.text(last(&entries)));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(bucket.name),
            prefix: Some(encoding.text(&prefix)),
            marker: Some(encoding.text(&marker)),
            max_keys: Some(limit as i32),
            is_truncated: Some(is_truncated),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.some(&delimiter),
            next_marker,
            encoding_type: encoding.told(),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<ListObjectsV2Input, ListObjectsV2Output> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let limit = limit(input.max_keys)?;
        let bucket = self
            .bucket_at(&caller, Action::List, &input.bucket, &prefix)
            .await?;
        let token = some(input.continuation_token.as_deref());
        let after = some(input.start_after.as_deref());
        let start = match (token, after) {
            (Some(token), _) => encoding::start(token)?,
            (None, Some(after)) => Start::after_key(after),
            (None, None) => Start::beginning(),
        };
        let listing = Listing {
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            start,
            limit,
        };
        let page = self.store.list(&bucket, &listing).await.map_err(of_store)?;
        let owner = (input.fetch_owner == Some(true)).then(|| self.owner(&caller));
        let (contents, common_prefixes) = divided(&page.entries, encoding, owner.as_ref());
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket.name),
            prefix: Some(encoding.text(&prefix)),
            max_keys: Some(limit as i32),
            key_count: Some(page.entries.len() as i32),
            continuation_token: token.map(str::to_owned),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(encoding::token),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.some(&delimiter),
            encoding_type: encoding.told(),
            start_after: after.map(|after| encoding.text(after)),
            ..Default::default()
        }))
    }
}

/// Where a list of versions goes on: behind a version of a key, or behind all of a key or of a folder.
struct Place {
    start: Option<Start>,
    behind: Option<VersionId>,
}

impl<S: ObjectStore> Face<S> {
    async fn place(
        &self,
        bucket: &model::objects::Bucket,
        (prefix, delimiter): (&str, &str),
        key: Option<&str>,
        version: Option<&str>,
    ) -> S3Result<Place> {
        let Some(key) = key else {
            return Ok(Place {
                start: Some(Start::beginning()),
                behind: None,
            });
        };
        let behind = match version_ref(version)? {
            VersionRef::Latest => None,
            VersionRef::Id(id) => Some(id),
            VersionRef::Null => {
                let null = self.store.find(bucket, key, VersionRef::Null).await;
                null.ok().map(|version| version.id)
            }
        };
        Ok(match behind {
            Some(_) => Place {
                start: Some(Start::after_key(key)),
                behind,
            },
            None => Place {
                start: Start::after_marker(key, prefix, delimiter),
                behind,
            },
        })
    }
}

impl<S: ObjectStore> On<ListObjectVersionsInput, ListObjectVersionsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let limit = limit(input.max_keys)?;
        let bucket = self
            .bucket_at(&caller, Action::List, &input.bucket, &prefix)
            .await?;
        let key_marker = some(input.key_marker.as_deref());
        let version_marker = some(input.version_id_marker.as_deref());
        if version_marker.is_some() && key_marker.is_none() {
            return Err(invalid(
                "a version-id marker cannot be specified without a key marker",
            ));
        }
        let folding = (prefix.as_str(), delimiter.as_str());
        let place = self
            .place(&bucket, folding, key_marker, version_marker)
            .await?;
        let (entries, is_truncated) = match place.start {
            Some(start) => {
                let listing = Listing {
                    prefix: prefix.clone(),
                    delimiter: delimiter.clone(),
                    start,
                    limit,
                };
                let page = self.store.versions(&bucket, &listing, place.behind).await;
                let page = page.map_err(of_store)?;
                (page.entries, page.next.is_some())
            }
            None => (Vec::new(), false),
        };
        let owner = self.owner(&caller);
        let (mut versions, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &entries {
            match entry {
                ListEntry::Prefix(prefix) => prefixes.push(CommonPrefix {
                    prefix: Some(encoding.text(prefix)),
                }),
                ListEntry::Object(marker) if marker.is_marker => markers.push(DeleteMarkerEntry {
                    is_latest: Some(marker.is_latest),
                    key: Some(encoding.text(&marker.key)),
                    last_modified: Some(time(marker.created_at)),
                    owner: Some(owner.clone()),
                    version_id: Some(version_text(marker)),
                }),
                ListEntry::Object(version) => versions.push(ObjectVersion {
                    e_tag: Some(etag(version)),
                    is_latest: Some(version.is_latest),
                    key: Some(encoding.text(&version.key)),
                    last_modified: Some(time(version.created_at)),
                    owner: Some(owner.clone()),
                    size: Some(version.size_bytes as i64),
                    storage_class: Some(ObjectVersionStorageClass::from_static(
                        ObjectVersionStorageClass::STANDARD,
                    )),
                    version_id: Some(version_text(version)),
                    ..Default::default()
                }),
            }
        }
        let next_version = match entries.last() {
            Some(ListEntry::Object(version)) if is_truncated => Some(version_text(version)),
            _ => None,
        };
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(bucket.name),
            prefix: Some(encoding.text(&prefix)),
            delimiter: encoding.some(&delimiter),
            encoding_type: encoding.told(),
            is_truncated: Some(is_truncated),
            key_marker: Some(encoding.text(key_marker.unwrap_or_default())),
            version_id_marker: Some(version_marker.unwrap_or_default().to_owned()),
            max_keys: Some(limit as i32),
            next_key_marker: is_truncated.then(|| encoding.text(last(&entries))),
            next_version_id_marker: next_version,
            versions: Some(versions),
            delete_markers: Some(markers),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }
}
