//! The feed of changes: what has happened to a bucket's keys, deletions included, in order and without a gap.

use model::objects::Bucket;

use super::tables::changes::{self, Change};
use super::{ObjectError, Objects};

/// Those behind `after`, which is 0 or the number of a change that the client has seen; and the bucket's last number.
pub async fn since(
    objects: &Objects,
    bucket: &Bucket,
    after: i64,
    limit: i64,
) -> Result<(Vec<Change>, i64), ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let last = changes::last(&mut connection, bucket.id).await?;
    let last = last.ok_or(ObjectError::NoSuchBucket)?;
    let found = changes::since(&mut connection, bucket.id, after, limit).await?;
    // Numbers have no gap: where the next one is missing, it is too old.
    let next = found.first().map(|change| change.seq);
    match next {
        Some(next) if next > after + 1 => Err(ObjectError::ChangesGone),
        None if after < last => Err(ObjectError::ChangesGone),
        _ => Ok((found, last)),
    }
}
