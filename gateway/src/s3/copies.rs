//! Copies: another key for the same bytes.

use model::names::ContentType as StoredType;
use model::objects::{Bucket as StoredBucket, Described, ObjectVersion as Version, VersionRef};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::{invalid, not_served, of_store};
use super::face::{CallerOf, Face, On};
use super::metadata::{self, heads};
use super::objects::{refuse_unserved, set_checksum};
use super::texts::{etag, key, some, time, version_ref};
use super::versions::{told_version, written_text};
use crate::conditions::{Conditions, Verdict};
use crate::store::{Action, ObjectStore};

/// Which version is copied from.
pub(super) struct Source {
    pub bucket: StoredBucket,
    pub version: Version,
}

impl<S: ObjectStore> Face<S> {
    pub(super) async fn source(
        &self,
        caller: &CallerOf<S>,
        source: &CopySource,
        conditions: &Conditions,
    ) -> S3Result<Source> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(not_served("What is copied is named by bucket and key."));
        };
        let version = version_ref(some(version_id.as_deref()))?;
        let (bucket, version) = self.readable(caller, bucket, key, version).await?;
        match conditions.evaluate(&version.etag, version.created_at) {
            Verdict::Proceed => Ok(Source { bucket, version }),
            Verdict::NotModified | Verdict::Failed => Err(S3Error::with_message(
                S3ErrorCode::PreconditionFailed,
                "What is to be copied is not what the condition says.",
            )),
        }
    }
}

/// The conditions on what is copied, of the inputs that have them.
macro_rules! source_conditions {
    ($input:expr) => {
        $crate::conditions::Conditions {
            if_match: $input
                .copy_source_if_match
                .take()
                .map($crate::s3::objects::tag),
            if_none_match: $input
                .copy_source_if_none_match
                .take()
                .map($crate::s3::objects::tag),
            if_modified_since: $input
                .copy_source_if_modified_since
                .as_ref()
                .and_then($crate::s3::texts::seconds),
            if_unmodified_since: $input
                .copy_source_if_unmodified_since
                .as_ref()
                .and_then($crate::s3::texts::seconds),
        }
    };
}
pub(super) use source_conditions;

impl<S: ObjectStore> On<CopyObjectInput, CopyObjectOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let caller = self.caller(&request)?;
        let mut input = request.input;
        refuse_unserved!(input);
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, key.as_str())
            .await?;
        let conditions = source_conditions!(input);
        let source = self
            .source(&caller, &input.copy_source, &conditions)
            .await?;
        let directive = input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str);
        let replaces = directive == Some(MetadataDirective::REPLACE);
        let onto_itself = source.bucket.id == bucket.id
            && source.version.key == key.as_str()
            && source.version.is_latest;
        if onto_itself && !replaces {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        let (content_type, metadata) = match replaces {
            true => (
                metadata::content_type(input.content_type.take())?,
                heads!(input).metadata()?,
            ),
            false => {
                let content_type = StoredType::try_from(source.version.content_type.clone());
                (
                    content_type.map_err(invalid)?,
                    source.version.metadata.clone(),
                )
            }
        };
        let described = Described {
            content_type,
            metadata,
            ..Described::plain(key)
        };
        let copied = self
            .store
            .copy(&caller, &source.version, &bucket, described)
            .await;
        let version = copied.map_err(of_store)?;
        let copied = self
            .store
            .find(&bucket, &input.key, VersionRef::Id(version))
            .await;
        let at = copied.map_or(source.version.created_at, |copied| copied.created_at);
        let mut result = CopyObjectResult {
            e_tag: Some(etag(&source.version)),
            last_modified: Some(time(at)),
            ..Default::default()
        };
        set_checksum!(result, &source.version.checksum);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: told_version(&source.bucket, &source.version),
            version_id: written_text(&bucket, version),
            ..Default::default()
        }))
    }
}
