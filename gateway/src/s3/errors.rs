//! The words of S3 for what went wrong.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use s3s::{S3Error, S3ErrorCode};

use super::versions::version_text;
use crate::checked_body::{BodyFault, FaultSlot, Senseless};
use crate::etag::AssembleError;
use crate::store::StoreError;

pub(super) fn of_store(error: StoreError) -> S3Error {
    let code = match &error {
        StoreError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        StoreError::NoSuchKey | StoreError::Deleted(_) => S3ErrorCode::NoSuchKey,
        StoreError::NoSuchVersion => S3ErrorCode::NoSuchVersion,
        StoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        StoreError::Forbidden(_) => S3ErrorCode::AccessDenied,
        StoreError::BucketTaken(_) => S3ErrorCode::BucketAlreadyExists,
        StoreError::BucketYours => S3ErrorCode::BucketAlreadyOwnedByYou,
        StoreError::TooManyBuckets(_) => S3ErrorCode::TooManyBuckets,
        StoreError::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
        StoreError::ConditionFailed => S3ErrorCode::PreconditionFailed,
        StoreError::Conflict => S3ErrorCode::ConditionalRequestConflict,
        StoreError::TooLarge(_) => S3ErrorCode::EntityTooLarge,
        // What clients do not try again.
        StoreError::NoCredit(_) | StoreError::Quota(_) => S3ErrorCode::AccessDenied,
        StoreError::Busy { .. } => S3ErrorCode::SlowDown,
        StoreError::BrokeOff(_) => S3ErrorCode::IncompleteBody,
        StoreError::TooSlow => S3ErrorCode::RequestTimeout,
        StoreError::Invalid(_) => S3ErrorCode::InvalidArgument,
        StoreError::Internal(source) => {
            tracing::error!(error = format!("{source:#}"), "a request failed");
            S3ErrorCode::InternalError
        }
    };
    let mut answer = S3Error::with_message(code, error.to_string());
    match error {
        StoreError::Busy { retry_after, .. } => {
            answer.set_headers(with("retry-after", &retry_after.to_string()));
        }
        StoreError::Deleted(marker) => {
            let mut headers = with("x-amz-delete-marker", "true");
            if let Ok(version) = HeaderValue::from_str(&version_text(&marker)) {
                headers.insert("x-amz-version-id", version);
            }
            answer.set_headers(headers);
        }
        _ => {}
    }
    answer
}

/// The headers of an error take the place of all others.
fn with(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let xml = HeaderValue::from_static("application/xml");
    headers.insert(header::CONTENT_TYPE, xml);
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    headers
}

/// Of a body: its own fault goes before what the store makes of it.
pub(super) fn of_body(error: StoreError, fault: &FaultSlot) -> S3Error {
    let Some(fault) = fault.get() else {
        return of_store(error);
    };
    let code = match fault {
        BodyFault::Md5 | BodyFault::Checksum(_) => S3ErrorCode::BadDigest,
        BodyFault::Broken(text) if text.contains("Sha256Mismatch") => {
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
        }
        BodyFault::Broken(text) if text.contains("SignatureMismatch") => {
            S3ErrorCode::SignatureDoesNotMatch
        }
        BodyFault::Length { .. } | BodyFault::Broken(_) => S3ErrorCode::IncompleteBody,
    };
    let status = code.status_code().unwrap_or(StatusCode::BAD_REQUEST);
    let mut error = S3Error::with_message(code, fault.to_string());
    error.set_status_code(status);
    error
}

pub(super) fn of_declared(error: &Senseless) -> S3Error {
    let code = match error {
        Senseless::Md5 => S3ErrorCode::InvalidDigest,
        Senseless::Several | Senseless::Value(_) => S3ErrorCode::InvalidRequest,
    };
    S3Error::with_message(code, error.to_string())
}

pub(super) fn of_assembly(error: AssembleError) -> S3Error {
    let code = match error {
        AssembleError::Nothing => S3ErrorCode::MalformedXML,
        AssembleError::Order => S3ErrorCode::InvalidPartOrder,
        AssembleError::Missing(_) => S3ErrorCode::InvalidPart,
        AssembleError::TooSmall(_) => S3ErrorCode::EntityTooSmall,
    };
    S3Error::with_message(code, error.to_string())
}

pub(super) fn invalid(text: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, sentence(&text.to_string()))
}

pub(super) fn no_such_part() -> S3Error {
    let text = "The object has no part of this number.";
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, text);
    error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

pub(super) fn not_served(text: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, text)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{dot}", first.unwrap_or_default(), letters.as_str())
}
