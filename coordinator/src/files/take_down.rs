//! Files as administrators see them, whoever owns them, and their take-down: no node and no coordinator looks into files,
//! but whoever runs a network has to be able to end one that must not be there. It demands a reason, and keeps it.

use kit::{Clock, Entropy};
use proto::FileId;

use super::delete::DeleteError;
use super::tables;
use crate::accounts::decisions::{self, Decision};
use crate::billing::charges::{self, FileEnd};
use crate::database::Pool;
use model::file::File;
use model::ids::UserId;

/// A file that is complete, if there is one of this id.
pub async fn look(db: &Pool, id: FileId) -> sqlx::Result<Option<File>> {
    let mut connection = db.acquire().await?;
    match tables::owners::of(&mut connection, id).await? {
        Some(owner) => tables::files::by_id(&mut connection, id, owner).await,
        None => Ok(None),
    }
}

/// Ends a file as its owner could, in one transaction with the decision: its key is gone at once, and what was not used
/// of its price goes back. Returns whose it was.
pub async fn take_down(
    db: &Pool,
    (clock, entropy): (&Clock, &Entropy),
    id: FileId,
    reason: &str,
) -> Result<UserId, DeleteError> {
    let mut transaction = db.begin().await?;
    let owner = tables::owners::of(&mut transaction, id).await?;
    let owner = owner.ok_or(DeleteError::NotFound)?;
    let file = tables::files::lock(&mut transaction, id, owner).await?;
    let file = file.ok_or(DeleteError::NotFound)?;
    charges::end(&mut transaction, entropy, &file, FileEnd::Deleted).await?;
    tables::files::mark_deleted(&mut transaction, id).await?;
    let decision = Decision {
        file: Some(id),
        ..Decision::new(owner, decisions::FILE_TAKEN_DOWN, reason)
    };
    decisions::note(&mut transaction, clock, entropy, &decision).await?;
    transaction.commit().await?;
    Ok(owner)
}
