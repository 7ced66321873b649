//! Objects deleted, one or many with one request.

use futures::future::join_all;
use model::objects::{Bucket as StoredBucket, Deleted, WriteCondition};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::of_store;
use super::face::{CallerOf, Face, On};
use super::objects::write_condition;
use super::texts::{key, version_ref};
use super::versions::{told_version, written_text};
use crate::store::{Action, ObjectStore};

/// Keys that one request deletes at most, and how many at a time.
const MOST_DELETED: usize = 1000;
const DELETED_AT_ONCE: usize = 8;

/// What has become of it: whether a marker stands before it, and which version went or came.
fn outcome(bucket: &StoredBucket, deleted: &Deleted) -> (Option<bool>, Option<String>) {
    match deleted {
        Deleted::Nothing => (None, None),
        Deleted::Marked(version) => (Some(true), written_text(bucket, *version)),
        Deleted::Version(version) => (
            version.is_marker.then_some(true),
            told_version(bucket, version),
        ),
    }
}

impl<S: ObjectStore> On<DeleteObjectInput, DeleteObjectOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Delete, &input.bucket, key.as_str())
            .await?;
        let version = version_ref(input.version_id.as_deref())?;
        let condition = write_condition(input.if_match, None)?;
        let deleted = self
            .store
            .delete(&caller, &bucket, &key, version, condition)
            .await;
        let (delete_marker, version_id) = outcome(&bucket, &deleted.map_err(of_store)?);
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker,
            version_id,
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> Face<S> {
    async fn delete_one(
        &self,
        caller: &CallerOf<S>,
        bucket: &StoredBucket,
        named: ObjectIdentifier,
    ) -> Result<DeletedObject, Error> {
        let (name, version_id) = (named.key.clone(), named.version_id.clone());
        let deleting = async {
            let key = key(&named.key)?;
            let may = caller.may_at(Action::Delete, &bucket.name, key.as_str());
            may.map_err(of_store)?;
            let version = version_ref(named.version_id.as_deref())?;
            let condition = match named.e_tag {
                Some(tag) => WriteCondition::Etag(tag.into_value()),
                None => WriteCondition::None,
            };
            let deleted = self
                .store
                .delete(caller, bucket, &key, version, condition)
                .await;
            deleted.map_err(of_store)
        };
        match deleting.await {
            Ok(deleted) => {
                let (delete_marker, told) = outcome(bucket, &deleted);
                Ok(DeletedObject {
                    delete_marker_version_id: told.filter(|_| delete_marker == Some(true)),
                    delete_marker,
                    key: Some(name),
                    version_id,
                })
            }
            Err(error) => Err(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(name),
                message: error.message().map(str::to_owned),
                version_id,
            }),
        }
    }
}

impl<S: ObjectStore> On<DeleteObjectsInput, DeleteObjectsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        if input.delete.objects.len() > MOST_DELETED {
            return Err(S3Error::with_message(
                S3ErrorCode::MalformedXML,
                "One request deletes 1000 keys at most.",
            ));
        }
        let bucket = self.bucket(&caller, Action::Delete, &input.bucket).await?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        let mut named = input.delete.objects.into_iter();
        loop {
            let some = named.by_ref().take(DELETED_AT_ONCE);
            let some: Vec<_> = some
                .map(|named| self.delete_one(&caller, &bucket, named))
                .collect();
            if some.is_empty() {
                break;
            }
            for outcome in join_all(some).await {
                match outcome {
                    Ok(object) => deleted.push(object),
                    Err(error) => errors.push(error),
                }
            }
        }
        if input.delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        }))
    }
}
