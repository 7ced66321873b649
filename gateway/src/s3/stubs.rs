//! What there is only one answer to here. Clients ask for it in passing, and take 501 for a broken service.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::not_served;
use super::face::{CallerOf, Face, On};
use crate::store::{Action, ObjectStore};

pub(super) fn owner_alone(owner: &Owner) -> Grants {
    vec![Grant {
        grantee: Some(Grantee {
            display_name: None,
            email_address: None,
            id: owner.id.clone(),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}

impl<S: ObjectStore> On<GetObjectAclInput, GetObjectAclOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let caller = self.caller(&request)?;
        let input = &request.input;
        self.bucket_at(&caller, Action::Read, &input.bucket, &input.key)
            .await?;
        let owner = self.owner(&caller);
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(owner_alone(&owner)),
            owner: Some(owner),
            ..Default::default()
        }))
    }
}

const OWNERS_ONLY: &str =
    "The only access list of an object is `private`: what anybody may read is set for the bucket.";

impl<S: ObjectStore> On<PutObjectAclInput, PutObjectAclOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let caller = self.caller(&request)?;
        let input = &request.input;
        self.bucket_at(&caller, Action::Write, &input.bucket, &input.key)
            .await?;
        match input.acl.as_ref().map(ObjectCannedACL::as_str) {
            Some(ObjectCannedACL::PRIVATE) => Ok(S3Response::new(PutObjectAclOutput::default())),
            _ => Err(not_served(OWNERS_ONLY)),
        }
    }
}

impl<S: ObjectStore> On<GetObjectTaggingInput, GetObjectTaggingOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let caller = self.caller(&request)?;
        let input = &request.input;
        self.bucket_at(&caller, Action::Read, &input.bucket, &input.key)
            .await?;
        Ok(S3Response::new(GetObjectTaggingOutput::default()))
    }
}

impl<S: ObjectStore> Face<S> {
    /// Of a bucket of the caller's, whatever it is asked for.
    async fn looked_at(&self, caller: &CallerOf<S>, bucket: &str) -> S3Result<()> {
        self.bucket(caller, Action::List, bucket).await.map(|_| ())
    }
}

/// Nothing is set, and the answer says so.
macro_rules! answers_nothing {
    ($($input:ident -> $output:ident { $($field:ident: $value:expr),* }),* $(,)?) => {$(
        impl<S: ObjectStore> On<$input, $output> for Face<S> {
            async fn on_request(
                &self,
                request: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let caller = self.caller(&request)?;
                self.looked_at(&caller, &request.input.bucket).await?;
                #[allow(unused_mut, reason = "of answers without a field")]
                let mut output = $output::default();
                $(output.$field = $value;)*
                Ok(S3Response::new(output))
            }
        }
    )*};
}

answers_nothing! {
    GetBucketLoggingInput -> GetBucketLoggingOutput {},
    GetBucketAccelerateConfigurationInput -> GetBucketAccelerateConfigurationOutput {},
    GetBucketNotificationConfigurationInput -> GetBucketNotificationConfigurationOutput {},
    GetBucketRequestPaymentInput -> GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER))
    },
}

/// Nothing is set, for which there is an error of its own.
macro_rules! has_none {
    ($($input:ident -> $output:ident: $code:expr),* $(,)?) => {$(
        impl<S: ObjectStore> On<$input, $output> for Face<S> {
            async fn on_request(
                &self,
                request: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let caller = self.caller(&request)?;
                self.looked_at(&caller, &request.input.bucket).await?;
                let mut error = S3Error::with_message($code, "Nothing of the kind is set for this bucket.");
                error.set_status_code(http::StatusCode::NOT_FOUND);
                Err(error)
            }
        }
    )*};
}

has_none! {
    GetBucketTaggingInput -> GetBucketTaggingOutput: S3ErrorCode::NoSuchTagSet,
    GetBucketPolicyInput -> GetBucketPolicyOutput: S3ErrorCode::NoSuchBucketPolicy,
    GetBucketEncryptionInput -> GetBucketEncryptionOutput:
        S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
    GetBucketReplicationInput -> GetBucketReplicationOutput:
        S3ErrorCode::ReplicationConfigurationNotFoundError,
    GetBucketOwnershipControlsInput -> GetBucketOwnershipControlsOutput:
        S3ErrorCode::OwnershipControlsNotFoundError,
    GetPublicAccessBlockInput -> GetPublicAccessBlockOutput:
        S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into()),
    GetObjectLockConfigurationInput -> GetObjectLockConfigurationOutput:
        S3ErrorCode::ObjectLockConfigurationNotFoundError,
}
