//! Ids of versions as S3 writes them.

use model::ids::VersionId;
use model::objects::{Bucket, ObjectVersion, Versioning};

/// The version that was written while the bucket kept none.
pub(super) const NULL: &str = "null";

pub(super) fn version_text(version: &ObjectVersion) -> String {
    match version.is_null {
        true => NULL.to_owned(),
        false => version.id.as_uuid().simple().to_string(),
    }
}

/// As a write is told, where its bucket has ever kept versions.
pub(super) fn written_text(bucket: &Bucket, version: VersionId) -> Option<String> {
    match bucket.versioning {
        Versioning::Off => None,
        Versioning::Suspended => Some(NULL.to_owned()),
        Versioning::Enabled => Some(version.as_uuid().simple().to_string()),
    }
}

/// As a read is told.
pub(super) fn told_version(bucket: &Bucket, version: &ObjectVersion) -> Option<String> {
    (bucket.versioning != Versioning::Off).then(|| version_text(version))
}
