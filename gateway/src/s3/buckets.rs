//! Buckets: made, found, taken away, and whether they keep versions.

use model::names::BucketName;
use model::objects::Versioning;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::{invalid, not_served, of_store};
use super::face::{Face, On};
use super::rules::published;
use super::texts::time;
use crate::store::{Action, ObjectStore};

/// A key for one bucket is told of that one.
impl<S: ObjectStore> On<ListBucketsInput, ListBucketsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let caller = self.caller(&request)?;
        let own = caller.bucket.clone();
        let any = own.as_deref().unwrap_or_default();
        caller.may(Action::List, any).map_err(of_store)?;
        let prefix = request.input.prefix.unwrap_or_default();
        let buckets = self.store.buckets(&caller).await.map_err(of_store)?;
        let told = buckets.into_iter().filter(|bucket| {
            own.as_ref().is_none_or(|own| *own == bucket.name) && bucket.name.starts_with(&prefix)
        });
        let told = told.map(|bucket| Bucket {
            name: Some(bucket.name),
            creation_date: Some(time(bucket.created_at)),
            bucket_region: None,
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(told.collect()),
            owner: Some(self.owner(&caller)),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<CreateBucketInput, CreateBucketOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(not_served("Object lock is not served."));
        }
        let acl = input.acl.as_ref();
        let published = acl.map(|acl| published(acl.as_str())).transpose()?;
        let asked = input
            .create_bucket_configuration
            .and_then(|asked| asked.location_constraint);
        let asked = asked.as_ref().map_or("", BucketLocationConstraint::as_str);
        if !asked.is_empty() && *asked != *self.region {
            let expected = &self.region;
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidLocationConstraint,
                format!("Buckets are made in the region `{expected}`, which is the only one here."),
            ));
        }
        caller.may_everywhere().map_err(of_store)?;
        caller.may(Action::Write, "").map_err(of_store)?;
        let name = BucketName::try_from(input.bucket).map_err(|error| {
            S3Error::with_message(S3ErrorCode::InvalidBucketName, error.to_string())
        })?;
        let bucket = self
            .store
            .create_bucket(&caller, &name)
            .await
            .map_err(of_store)?;
        if let Some(change) = published {
            self.set(&caller, &bucket.name, change).await?;
        }
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{}", bucket.name)),
        }))
    }
}

impl<S: ObjectStore> On<HeadBucketInput, HeadBucketOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let caller = self.caller(&request)?;
        self.bucket(&caller, Action::List, &request.input.bucket)
            .await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.region.to_string()),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<DeleteBucketInput, DeleteBucketOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let caller = self.caller(&request)?;
        let name = &request.input.bucket;
        let bucket = self.bucket_at(&caller, Action::Delete, name, "").await?;
        self.store.delete_bucket(&bucket).await.map_err(of_store)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }
}

impl<S: ObjectStore> On<GetBucketLocationInput, GetBucketLocationOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let caller = self.caller(&request)?;
        self.bucket(&caller, Action::List, &request.input.bucket)
            .await?;
        let region = self.region.to_string();
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: Some(BucketLocationConstraint::from(region)),
        }))
    }
}

impl<S: ObjectStore> On<GetBucketVersioningInput, GetBucketVersioningOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let caller = self.caller(&request)?;
        let bucket = self
            .bucket(&caller, Action::List, &request.input.bucket)
            .await?;
        let status = match bucket.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<PutBucketVersioningInput, PutBucketVersioningOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let caller = self.caller(&request)?;
        let name = &request.input.bucket;
        let bucket = self.bucket_at(&caller, Action::Write, name, "").await?;
        let status = request.input.versioning_configuration.status;
        let keep = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => true,
            Some(BucketVersioningStatus::SUSPENDED) => false,
            _ => return Err(invalid("the status of versioning is Enabled or Suspended")),
        };
        self.store
            .keep_versions(&bucket, keep)
            .await
            .map_err(of_store)?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }
}
