//! What went wrong here, as the gateway is told. Texts are those of the REST API.

use anyhow::anyhow;
use gateway::store::StoreError;
use http::StatusCode;
use model::objects::TargetRefusal;

use crate::accounts::key_login::{ChargeRefused, KeyRefused};
use crate::files::download::DownloadError;
use crate::files::upload::UploadError;
use crate::http::problem::Problem;
use crate::objects::ObjectError;

pub(super) fn of(error: ObjectError) -> StoreError {
    match error {
        ObjectError::NoSuchBucket => StoreError::NoSuchBucket,
        ObjectError::NameYours => StoreError::BucketYours,
        ObjectError::NotEmpty => StoreError::BucketNotEmpty,
        ObjectError::NoSuchKey => StoreError::NoSuchKey,
        ObjectError::NoSuchVersion => StoreError::NoSuchVersion,
        ObjectError::Deleted(marker) => StoreError::Deleted(marker),
        ObjectError::NoSuchMultipart => StoreError::NoSuchUpload,
        error @ (ObjectError::NameTaken | ObjectError::NameRests) => {
            StoreError::BucketTaken(Problem::from(error).detail().to_owned())
        }
        error @ ObjectError::TooManyBuckets { .. } => {
            StoreError::TooManyBuckets(Problem::from(error).detail().to_owned())
        }
        ObjectError::Upload(UploadError::Refused(refusal)) => match refusal {
            TargetRefusal::NoSuchBucket => StoreError::NoSuchBucket,
            TargetRefusal::NoSuchMultipart => StoreError::NoSuchUpload,
            TargetRefusal::ConditionFailed => StoreError::ConditionFailed,
            TargetRefusal::Conflict | TargetRefusal::SourceGone => StoreError::Conflict,
            TargetRefusal::Unsummed => StoreError::Internal(refusal.into()),
        },
        ObjectError::Upload(UploadError::BrokeOff(how)) => StoreError::BrokeOff(how),
        ObjectError::Upload(UploadError::TooSlow) => StoreError::TooSlow,
        ObjectError::Download(DownloadError::NotFound) => StoreError::NoSuchKey,
        error => of_problem(&error.into()),
    }
}

pub(super) fn of_problem(problem: &Problem) -> StoreError {
    let text = problem.detail().to_owned();
    match problem.status {
        StatusCode::PAYMENT_REQUIRED => StoreError::NoCredit(text),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => StoreError::Forbidden(text),
        StatusCode::PAYLOAD_TOO_LARGE => StoreError::TooLarge(text),
        StatusCode::CONFLICT => StoreError::Quota(text),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INSUFFICIENT_STORAGE => StoreError::Busy {
            why: text,
            retry_after: problem.retry_after_seconds().unwrap_or(5),
        },
        status if status.is_client_error() => StoreError::Invalid(text),
        _ => StoreError::Internal(anyhow!(text)),
    }
}

/// `None`: as if there were no such key.
pub(super) fn of_key(error: KeyRefused) -> Option<StoreError> {
    match error {
        KeyRefused::Unknown | KeyRefused::SignsNothing => None,
        KeyRefused::Expired | KeyRefused::NotFromHere(_) | KeyRefused::Suspended(_) => {
            let mut text = error.to_string();
            text.push('.');
            Some(StoreError::Forbidden(text))
        }
        KeyRefused::Database(error) => Some(of_problem(&error.into())),
        KeyRefused::Internal(error) => Some(StoreError::Internal(error)),
    }
}

pub(super) fn of_cap(error: ChargeRefused) -> StoreError {
    match error {
        ChargeRefused::Bytes | ChargeRefused::Credits => {
            StoreError::Quota(format!("{error}. Tomorrow (UTC) it may again."))
        }
        ChargeRefused::Database(error) => of_problem(&error.into()),
    }
}
