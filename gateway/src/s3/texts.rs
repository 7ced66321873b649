//! Names, times and ids as S3 writes them.

use std::time::SystemTime;

use model::ids::{MultipartId, VersionId};
use model::names::ObjectKey;
use model::objects::{ObjectVersion, VersionRef};
use s3s::S3Error;
use s3s::dto::{ETag, Timestamp, TimestampFormat};
use uuid::Uuid;

use super::errors::invalid;
use super::versions::NULL;

pub(super) fn time(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from(SystemTime::from(at))
}

/// Whole seconds, as headers have them.
pub(super) fn seconds(at: &Timestamp) -> Option<i64> {
    let mut text = Vec::new();
    at.format(TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split('.').next()?.parse().ok()
}

pub(super) fn etag(version: &ObjectVersion) -> ETag {
    ETag::Strong(version.etag.clone())
}

pub(super) fn version_ref(text: Option<&str>) -> Result<VersionRef, S3Error> {
    match text {
        None | Some("") => Ok(VersionRef::Latest),
        Some(NULL) => Ok(VersionRef::Null),
        Some(text) => match Uuid::try_parse(text) {
            Ok(id) => Ok(VersionRef::Id(VersionId::from_uuid(id))),
            Err(_) => Err(invalid("Invalid version id specified")),
        },
    }
}

pub(super) fn upload_text(id: MultipartId) -> String {
    id.as_uuid().simple().to_string()
}

/// `None`: nobody was ever given such an id.
pub(super) fn upload_id(text: &str) -> Option<MultipartId> {
    Uuid::try_parse(text).ok().map(MultipartId::from_uuid)
}

pub(super) fn key(text: &str) -> Result<ObjectKey, S3Error> {
    ObjectKey::try_from(text.to_owned()).map_err(|error| match text.len() > ObjectKey::MAX_BYTES {
        true => S3Error::with_message(s3s::S3ErrorCode::KeyTooLongError, error.to_string()),
        false => invalid(error),
    })
}

/// An empty text stands for none: some clients send all parameters that there are.
pub(super) fn some(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
