//! What can go wrong with buckets and objects, as clients are told.

use api::problem::{Members, ProblemKind};
use model::objects::TargetRefusal;

use super::conditions;
use super::problem::Problem;
use crate::files::upload::UploadError;
use crate::objects::ObjectError;

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NoSuchBucket => Self::not_found("bucket"),
            ObjectError::NotYours => Self::new(
                ProblemKind::Forbidden,
                "The bucket is somebody else's. Names of buckets are unique in the network: choose another one.",
            ),
            ObjectError::NameTaken => Self::new(
                ProblemKind::BucketNameTaken,
                "Somebody else has a bucket of this name. Names are unique in the network: choose another one.",
            ),
            ObjectError::NameYours => Self::new(
                ProblemKind::BucketNameTaken,
                "This account has a bucket of this name already.",
            ),
            ObjectError::NameRests => Self::new(
                ProblemKind::BucketNameTaken,
                "A bucket of this name was deleted lately. For 30 days only its owner may take the name again; choose \
                 another one.",
            ),
            ObjectError::TooManyBuckets { limit } => Self::new(
                ProblemKind::TooManyBuckets,
                format!("An account may have at most {limit} buckets. Delete one first, or use prefixes."),
            )
            .with(Members {
                limit: Some(limit.into()),
                ..Members::default()
            }),
            ObjectError::NotEmpty => Self::new(
                ProblemKind::BucketNotEmpty,
                "The bucket is not empty: delete its objects, their versions and delete markers, and give up its \
                 multipart uploads first.",
            ),
            ObjectError::NoSuchKey => Self::not_found("key in the bucket"),
            ObjectError::NoSuchVersion => Self::not_found("version of the key"),
            ObjectError::Deleted(_) => Self::not_found("key in the bucket: it was deleted"),
            ObjectError::NoSuchMultipart => Self::not_found("multipart upload"),
            ObjectError::TooManyMultiparts { limit } => Self::new(
                ProblemKind::TooManyUploads,
                format!(
                    "A bucket may have at most {limit} multipart uploads under way. Complete some, or give them up."
                ),
            )
            .with(Members {
                limit: Some(limit.unsigned_abs()),
                ..Members::default()
            }),
            ObjectError::ChangesGone => Self::new(
                ProblemKind::ChangesGone,
                "Changes are kept for 90 days, and those behind this place are gone. List the bucket anew, and go on \
                 from its last change.",
            ),
            ObjectError::Upload(UploadError::Refused(refusal)) => refusal.into(),
            ObjectError::Upload(error) => error.into(),
            ObjectError::Download(error) => error.into(),
            ObjectError::Charge(error) => UploadError::from(error).into(),
            ObjectError::Database(error) => error.into(),
        }
    }
}

impl From<TargetRefusal> for Problem {
    fn from(refusal: TargetRefusal) -> Self {
        match refusal {
            TargetRefusal::NoSuchBucket => Self::not_found("bucket"),
            TargetRefusal::NoSuchMultipart => Self::not_found("multipart upload"),
            TargetRefusal::ConditionFailed => conditions::failed(),
            TargetRefusal::Conflict | TargetRefusal::SourceGone => Self::new(
                ProblemKind::WriteConflict,
                "Somebody else wrote this key at the same moment. Nothing was done; look at it, and try again.",
            ),
            TargetRefusal::Unsummed => Self::internal(refusal),
        }
    }
}
