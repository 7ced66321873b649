//! The end of all files that an account has stored or begun to, but those of objects, when the account is closed: a bounded number in each transaction,
//! as its owner would have deleted them one by one.

use kit::Entropy;
use model::ids::UserId;
use model::upload::UploadState;

use super::tables;
use super::upload::{UploadError, complete};
use crate::billing::charges::{self, ChargeError, FileEnd};
use crate::database::Pool;

/// Files, and uploads, that one transaction ends.
const BATCH: i64 = 32;

#[derive(Debug, thiserror::Error)]
pub enum EndError {
    #[error(transparent)]
    Charge(#[from] ChargeError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// `false` when nothing is left.
pub async fn end_some(db: &Pool, entropy: &Entropy, user: UserId) -> Result<bool, EndError> {
    let files = end_files(db, entropy, user).await?;
    let uploads = end_uploads(db, entropy, user).await?;
    Ok(files || uploads)
}

async fn end_files(db: &Pool, entropy: &Entropy, user: UserId) -> Result<bool, EndError> {
    let mut transaction = db.begin().await?;
    let mut files = Vec::new();
    // Rows of files are locked before that of their user.
    for id in tables::owners::some_of(&mut transaction, user, BATCH).await? {
        files.extend(tables::files::lock(&mut transaction, id, user).await?);
    }
    for file in &files {
        charges::end(&mut transaction, entropy, file, FileEnd::Deleted).await?;
        tables::files::mark_deleted(&mut transaction, file.id).await?;
    }
    transaction.commit().await?;
    Ok(!files.is_empty())
}

async fn end_uploads(db: &Pool, entropy: &Entropy, user: UserId) -> Result<bool, EndError> {
    let mut connection = db.acquire().await?;
    let open = tables::owners::uploads_of(&mut connection, user, BATCH).await?;
    drop(connection);
    for id in &open {
        let mut transaction = db.begin().await?;
        let upload = tables::uploads::lock(&mut transaction, *id, user).await?;
        if let Some(upload) = upload.filter(|upload| upload.state == UploadState::Open) {
            complete::discard(entropy, &mut transaction, &upload, "account closed").await?;
        }
        transaction.commit().await?;
    }
    Ok(!open.is_empty())
}
