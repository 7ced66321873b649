//! The take-down of a file that belongs to an object, and of any other, by its id.

use kit::{Clock, Entropy};
use model::ids::{FileId, UserId};

use super::{ending, tables};
use crate::accounts::decisions::{self, Decision};
use crate::billing::charges::FileEnd;
use crate::database::Pool;
use crate::files::delete::DeleteError;
use crate::files::take_down;

pub use super::tables::versions::Place;

/// Versions of objects that a file is part of: as many as are shown.
const PLACES: i64 = 50;

/// How often it is begun anew when others point to the file meanwhile.
const TRIES: u32 = 10;

/// Where a file is seen: some of the versions that it is part of.
pub async fn places(db: &Pool, id: FileId) -> sqlx::Result<Vec<Place>> {
    let mut connection = db.acquire().await?;
    tables::versions::places_of(&mut connection, id, PLACES).await
}

/// The files of a key, of all of its versions.
pub async fn files_of_key(
    db: &Pool,
    bucket: &str,
    key: &str,
) -> sqlx::Result<Vec<(FileId, Place)>> {
    let mut connection = db.acquire().await?;
    tables::versions::files_of_key(&mut connection, bucket, key, PLACES).await
}

/// Ends a file, and the versions that it is part of, in one transaction with the decision. Returns whose it was.
pub async fn take_down(
    db: &Pool,
    by: (&Clock, &Entropy),
    id: FileId,
    reason: &str,
) -> Result<UserId, DeleteError> {
    for _ in 0..TRIES {
        match take_down::take_down(db, by, id, reason).await {
            Err(DeleteError::NotFound) => {}
            done => return done,
        }
        let mut transaction = db.begin().await?;
        let Some(pointed) = ending::lock(&mut transaction, id).await? else {
            continue;
        };
        let owner = pointed.file.user_id;
        let decision = Decision {
            file: Some(id),
            ..Decision::new(owner, decisions::FILE_TAKEN_DOWN, reason)
        };
        ending::end(&mut transaction, by.1, pointed, FileEnd::Deleted).await?;
        decisions::note(&mut transaction, by.0, by.1, &decision).await?;
        transaction.commit().await?;
        return Ok(owner);
    }
    Err(DeleteError::NotFound)
}
