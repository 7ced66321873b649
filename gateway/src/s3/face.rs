//! The operations, one page: each is in the file of its kind. What is not here is answered with 501 by `s3s`.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::of_store;
use crate::store::{Action, Caller, ObjectStore};
use model::objects::Bucket as StoredBucket;

pub(super) struct Face<S> {
    pub store: Arc<S>,
    pub region: Arc<str>,
}

/// Who asks, as the signature has said.
pub(super) type CallerOf<S> = Caller<<S as ObjectStore>::Account>;

impl<S: ObjectStore> Face<S> {
    pub(super) fn caller<T>(&self, request: &S3Request<T>) -> S3Result<CallerOf<S>> {
        let caller = request.extensions.get::<CallerOf<S>>().cloned();
        caller.ok_or_else(|| S3Error::new(S3ErrorCode::AccessDenied))
    }

    /// The bucket, where the caller may do this with it.
    pub(super) async fn bucket(
        &self,
        caller: &CallerOf<S>,
        action: Action,
        name: &str,
    ) -> S3Result<StoredBucket> {
        caller.may(action, name).map_err(of_store)?;
        self.store.bucket(caller, name).await.map_err(of_store)
    }

    /// The bucket, where the caller may do this with what begins so in it.
    pub(super) async fn bucket_at(
        &self,
        caller: &CallerOf<S>,
        action: Action,
        name: &str,
        beginning: &str,
    ) -> S3Result<StoredBucket> {
        caller.may_at(action, name, beginning).map_err(of_store)?;
        self.store.bucket(caller, name).await.map_err(of_store)
    }
}

macro_rules! operations {
    ($($operation:ident: $input:ident -> $output:ident),* $(,)?) => {
        #[async_trait::async_trait]
        impl<S: ObjectStore> S3 for Face<S> {
            $(
                async fn $operation(
                    &self,
                    request: S3Request<$input>,
                ) -> S3Result<S3Response<$output>> {
                    Box::pin(self.on_request(request)).await
                }
            )*
        }
    };
}

/// One operation.
pub(super) trait On<I, O> {
    fn on_request(
        &self,
        request: S3Request<I>,
    ) -> impl Future<Output = S3Result<S3Response<O>>> + Send;
}

operations! {
    // buckets
    list_buckets: ListBucketsInput -> ListBucketsOutput,
    create_bucket: CreateBucketInput -> CreateBucketOutput,
    head_bucket: HeadBucketInput -> HeadBucketOutput,
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput,
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput,
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput,
    put_bucket_versioning: PutBucketVersioningInput -> PutBucketVersioningOutput,
    // objects
    put_object: PutObjectInput -> PutObjectOutput,
    get_object: GetObjectInput -> GetObjectOutput,
    head_object: HeadObjectInput -> HeadObjectOutput,
    delete_object: DeleteObjectInput -> DeleteObjectOutput,
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput,
    copy_object: CopyObjectInput -> CopyObjectOutput,
    get_object_attributes: GetObjectAttributesInput -> GetObjectAttributesOutput,
    // lists
    list_objects: ListObjectsInput -> ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output,
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput,
    // objects in parts
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput,
    upload_part: UploadPartInput -> UploadPartOutput,
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput,
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput,
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput,
    list_parts: ListPartsInput -> ListPartsOutput,
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput,
    // what is set for a bucket
    get_bucket_acl: GetBucketAclInput -> GetBucketAclOutput,
    put_bucket_acl: PutBucketAclInput -> PutBucketAclOutput,
    get_bucket_policy_status: GetBucketPolicyStatusInput -> GetBucketPolicyStatusOutput,
    get_bucket_cors: GetBucketCorsInput -> GetBucketCorsOutput,
    get_bucket_website: GetBucketWebsiteInput -> GetBucketWebsiteOutput,
    put_bucket_cors: PutBucketCorsInput -> PutBucketCorsOutput,
    delete_bucket_cors: DeleteBucketCorsInput -> DeleteBucketCorsOutput,
    put_bucket_website: PutBucketWebsiteInput -> PutBucketWebsiteOutput,
    delete_bucket_website: DeleteBucketWebsiteInput -> DeleteBucketWebsiteOutput,
    get_bucket_lifecycle_configuration:
        GetBucketLifecycleConfigurationInput -> GetBucketLifecycleConfigurationOutput,
    put_bucket_lifecycle_configuration:
        PutBucketLifecycleConfigurationInput -> PutBucketLifecycleConfigurationOutput,
    delete_bucket_lifecycle: DeleteBucketLifecycleInput -> DeleteBucketLifecycleOutput,
    // what there is only one answer to
    get_object_acl: GetObjectAclInput -> GetObjectAclOutput,
    put_object_acl: PutObjectAclInput -> PutObjectAclOutput,
    get_bucket_request_payment: GetBucketRequestPaymentInput -> GetBucketRequestPaymentOutput,
    get_bucket_logging: GetBucketLoggingInput -> GetBucketLoggingOutput,
    get_bucket_accelerate_configuration:
        GetBucketAccelerateConfigurationInput -> GetBucketAccelerateConfigurationOutput,
    get_bucket_notification_configuration:
        GetBucketNotificationConfigurationInput -> GetBucketNotificationConfigurationOutput,
    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput,
    get_bucket_tagging: GetBucketTaggingInput -> GetBucketTaggingOutput,
    get_bucket_policy: GetBucketPolicyInput -> GetBucketPolicyOutput,
    get_bucket_encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput,
    get_bucket_replication: GetBucketReplicationInput -> GetBucketReplicationOutput,
    get_bucket_ownership_controls:
        GetBucketOwnershipControlsInput -> GetBucketOwnershipControlsOutput,
    get_public_access_block: GetPublicAccessBlockInput -> GetPublicAccessBlockOutput,
    get_object_lock_configuration:
        GetObjectLockConfigurationInput -> GetObjectLockConfigurationOutput,
}
