//! The end of a stored file with every version that it is part of, and of all that an account has in buckets.
//!
//! A version of which a part is gone is none any more: it ends with the file, and the key points to the version before it.
//! Locked are keys, buckets and files in the order in which writers lock them (`pointing`). Rejected: versions that stay
//! and answer with a problem of their own: they would be listed, copied and billed, and nobody could read them.

use std::collections::HashMap;

use kit::Entropy;
use model::file::File;
use model::ids::{BucketId, FileId, UserId, VersionId};
use model::objects::key_lock;
use sqlx::PgConnection;

use super::{ObjectError, buckets, release, tables};
use crate::billing::charges::{self, ChargeError, FileEnd};
use crate::database::Pool;
use crate::files::tables::files;

/// A file of an object, locked, with all that points to it.
pub(super) struct Pointed {
    pub file: File,
    versions: HashMap<VersionId, (BucketId, String)>,
    /// The other files of these versions.
    others: Vec<FileId>,
}

/// `None` when the file is gone, or is pointed to by others than a moment ago.
pub(super) async fn lock(
    connection: &mut PgConnection,
    id: FileId,
) -> sqlx::Result<Option<Pointed>> {
    let versions = tables::versions::of_file(connection, id).await?;
    let keys = versions
        .values()
        .map(|(bucket, key)| key_lock(*bucket, key));
    tables::locks::lock_keys(connection, keys.collect()).await?;
    let mut in_buckets: Vec<_> = versions.values().map(|(bucket, _)| *bucket).collect();
    in_buckets.sort_unstable();
    in_buckets.dedup();
    tables::buckets::share(connection, &in_buckets).await?;
    let ids: Vec<_> = versions.keys().copied().collect();
    let mut others = tables::parts::files_of(connection, &ids).await?;
    others.push(id);
    let locked = files::lock_parts(connection, &others).await?;
    // Whoever copies a version locks its files: from here on no other points to them.
    if tables::versions::of_file(connection, id).await? != versions {
        return Ok(None);
    }
    others.retain(|other| *other != id);
    let file = locked.into_iter().find(|file| file.id == id);
    Ok(file.map(|file| Pointed {
        file,
        versions,
        others,
    }))
}

/// Ends the file and the versions; of each key that loses its latest the version before it is.
pub(super) async fn end(
    connection: &mut PgConnection,
    entropy: &Entropy,
    pointed: Pointed,
    why: FileEnd,
) -> Result<(), ChargeError> {
    let Pointed {
        file,
        versions,
        others,
    } = pointed;
    let ids: Vec<_> = versions.keys().copied().collect();
    tables::multiparts::forget_file(connection, file.id).await?;
    tables::versions::delete(connection, &ids).await?;
    charges::end(connection, entropy, &file, why).await?;
    files::mark_deleted(connection, file.id).await?;
    release::end_unnamed(connection, entropy, &others).await?;
    let mut gone: Vec<_> = versions.into_iter().collect();
    gone.sort_by_key(|(_, (bucket, _))| *bucket); // buckets are locked in order
    for (id, (bucket, key)) in gone {
        tables::versions::promote_newest(connection, bucket, &key).await?;
        let seq = tables::buckets::advance(connection, bucket, 1).await?;
        tables::changes::note_removed(connection, bucket, seq, &key, id).await?;
    }
    Ok(())
}

/// Versions that one transaction ends.
const BATCH: i64 = 32;

/// Changes that one transaction forgets.
const CHANGES: i64 = 1000;

/// Ends some of what a closed account has in buckets, an emptied bucket with it; `false` when nothing is left. Nobody is
/// told of these changes: the account was all who could ask for them.
pub async fn end_some(db: &Pool, entropy: &Entropy, user: UserId) -> Result<bool, ObjectError> {
    let mut connection = db.acquire().await?;
    let bucket = tables::buckets::one_of(&mut connection, user).await?;
    drop(connection);
    let Some(bucket) = bucket else {
        return Ok(false);
    };
    let gave_up = give_up_one(db, entropy, bucket).await?;
    let ended = end_versions(db, entropy, bucket).await?;
    if gave_up || ended {
        return Ok(true);
    }
    let mut transaction = db.begin().await?;
    let forgotten = tables::changes::forget(&mut transaction, bucket, CHANGES).await?;
    if forgotten < CHANGES.unsigned_abs() {
        match buckets::remove(&mut transaction, bucket).await {
            // Something was written meanwhile, or somebody else does the same: the next time tells.
            Ok(()) | Err(ObjectError::NotEmpty | ObjectError::NoSuchBucket) => {}
            Err(error) => return Err(error),
        }
    }
    transaction.commit().await?;
    Ok(true)
}

async fn give_up_one(db: &Pool, entropy: &Entropy, bucket: BucketId) -> Result<bool, ObjectError> {
    let mut transaction = db.begin().await?;
    let Some(id) = tables::multiparts::lock_one_of(&mut transaction, bucket).await? else {
        return Ok(false);
    };
    let parts = tables::multiparts::files_of(&mut transaction, &[id]).await?;
    files::lock_parts(&mut transaction, &parts).await?;
    tables::multiparts::delete(&mut transaction, id).await?;
    release::end_unnamed(&mut transaction, entropy, &parts).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn end_versions(db: &Pool, entropy: &Entropy, bucket: BucketId) -> Result<bool, ObjectError> {
    let mut transaction = db.begin().await?;
    let some = tables::versions::some_of(&mut transaction, bucket, BATCH).await?;
    let keys = some.iter().map(|(_, key)| key_lock(bucket, key));
    tables::locks::lock_keys(&mut transaction, keys.collect()).await?;
    tables::buckets::share(&mut transaction, &[bucket]).await?;
    let ids: Vec<_> = some.iter().map(|(id, _)| *id).collect();
    let held = tables::parts::files_of(&mut transaction, &ids).await?;
    files::lock_parts(&mut transaction, &held).await?;
    tables::versions::delete(&mut transaction, &ids).await?;
    release::end_unnamed(&mut transaction, entropy, &held).await?;
    transaction.commit().await?;
    Ok(!some.is_empty())
}
