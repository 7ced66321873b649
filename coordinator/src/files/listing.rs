//! A user's own files, as the API lists them.

use jiff::Timestamp;
use proto::{FileId, MicroCredits};

use super::Files;
use super::tables::files::{self, ByTime};
use super::tables::owners;
use model::file::{File, UploadingFile};
use model::ids::UserId;
use model::storage_class::StorageClass;

/// Where a list goes on: behind the last entry of the page before.
#[derive(Debug)]
pub enum Order {
    /// Newest first, by when they were completed.
    ByTime(Option<(Timestamp, FileId)>),
    ByName(Option<(String, FileId)>),
}

/// Completed files of the user whose names begin so.
pub async fn list(
    own: &Files,
    user: UserId,
    prefix: &str,
    order: Order,
    limit: i64,
) -> sqlx::Result<Vec<File>> {
    let mut connection = own.db.acquire().await?;
    match order {
        Order::ByTime(after) => {
            let after = after.map(|(completed_at, id)| ByTime { completed_at, id });
            files::list_by_time(&mut connection, user, prefix, after.as_ref(), limit).await
        }
        Order::ByName(after) => {
            let after = after.as_ref().map(|(name, id)| (name.as_str(), *id));
            files::list_by_name(&mut connection, user, prefix, after, limit).await
        }
    }
}

/// The file, if it is this user's and completed.
pub async fn own(own: &Files, id: FileId, user: UserId) -> sqlx::Result<Option<File>> {
    let mut connection = own.db.acquire().await?;
    files::by_id(&mut connection, id, user).await
}

/// How many files the user has, their bytes, and what a month of them costs.
pub async fn usage(own: &Files, user: UserId) -> sqlx::Result<(u64, u64, MicroCredits)> {
    let mut connection = own.db.acquire().await?;
    owners::usage(&mut connection, user).await
}

/// A file whose upload has begun.
pub async fn uploading(own: &Files, id: FileId) -> sqlx::Result<Option<UploadingFile>> {
    let mut connection = own.db.acquire().await?;
    files::uploading(&mut connection, id).await
}

/// A file as the API shows it.
pub fn described(file: File) -> api::files::File {
    api::files::File {
        file_id: file.id,
        filename: file.filename,
        size_bytes: file.layout.size_bytes,
        sha256: file.sha256.map(hex::encode),
        content_type: file.content_type,
        chunk_size_bytes: file.layout.chunk_size,
        chunk_count: file.layout.chunk_count(),
        class: StorageClass::of(file.scheme).name().to_owned(),
        state: "ready".to_owned(),
        created_at: file.created_at,
        completed_at: Some(file.completed_at),
        paid_until: file.paid_until,
        grace_since: file.grace_since,
    }
}
