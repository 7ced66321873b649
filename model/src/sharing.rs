//! Shares: links to stored bytes, for whoever has the link.

use jiff::Timestamp;
use proto::FileId;

use crate::ids::{BucketId, VersionId};
use crate::objects::VersionRef;

/// Downloads that a share may be bounded to.
pub const MOST_DOWNLOADS: u32 = 1_000_000;

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareTarget {
    File(FileId),
    Object {
        bucket: BucketId,
        key: String,
        /// `None`: whatever is the key's latest.
        version: Option<VersionId>,
    },
}

impl ShareTarget {
    pub fn version_ref(version: Option<VersionId>) -> VersionRef {
        version.map_or(VersionRef::Latest, VersionRef::Id)
    }
}

/// What an owner wants otherwise: `None` stays as it is, `Some(None)` takes it away.
#[derive(Debug, Clone, Default)]
pub struct ShareChange {
    pub expires_at: Option<Option<Timestamp>>,
    pub max_downloads: Option<Option<u32>>,
    pub password_hash: Option<Option<String>>,
}
