//! Moving: an object goes by another key. In buckets that keep no versions it is one transaction, in which nothing but a
//! name changes; it is sold under the terms that it was stored under until it is written anew.
//!
//! Where versions are kept, the old key's stay behind a marker: it is a copy and a deletion, and who is cut off between
//! them has both. Rejected: one transaction for that, too. A marker is a charge of its own, which goes the way of uploads.

use limits::memory::Holder;
use model::ids::VersionId;
use model::names::ObjectKey;
use model::objects::{
    Bucket, Deleted, Described, ObjectVersion, TargetRefusal, VersionRef, Versioning,
    WriteCondition, key_lock,
};

use super::{ObjectError, Objects, copy, delete, get, release, tables};
use crate::files::tables::files;
use crate::files::upload::UploadError;

/// Where something is to go.
#[derive(Debug)]
pub struct Destination<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a ObjectKey,
    pub condition: WriteCondition,
}

fn refused(refusal: TargetRefusal) -> ObjectError {
    UploadError::from(refusal).into()
}

/// Moves the latest version of a key. Both buckets are the same owner's.
pub async fn rename(
    objects: &Objects,
    holder: Holder,
    (from, key): (&Bucket, &ObjectKey),
    to: Destination<'_>,
) -> Result<VersionId, ObjectError> {
    let source = get::find(objects, from, key.as_str(), VersionRef::Latest).await?;
    if from.id == to.bucket.id && key == to.key {
        return Ok(source.id);
    }
    let plain = |bucket: &Bucket| bucket.versioning == Versioning::Off;
    match plain(from) && plain(to.bucket) {
        true => at_once(objects, &source, to).await,
        false => in_two_steps(objects, holder, (from, key), &source, to).await,
    }
}

async fn at_once(
    objects: &Objects,
    source: &ObjectVersion,
    to: Destination<'_>,
) -> Result<VersionId, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let (from, target) = (source.bucket, to.bucket.id);
    let locks = vec![
        key_lock(from, &source.key),
        key_lock(target, to.key.as_str()),
    ];
    tables::locks::lock_keys(&mut transaction, locks).await?;
    let mut ids = vec![from, target];
    ids.sort_unstable();
    ids.dedup();
    let buckets = tables::buckets::share(&mut transaction, &ids).await?;
    if buckets.len() < ids.len() {
        return Err(ObjectError::NoSuchBucket);
    }
    if buckets.values().any(|now| *now != Versioning::Off) {
        return Err(refused(TargetRefusal::Conflict)); // they are kept since just now
    }
    let latest = VersionRef::Latest;
    let found = tables::versions::find(&mut transaction, from, &source.key, latest).await?;
    if found.is_none_or(|found| found.id != source.id) {
        return Err(refused(TargetRefusal::Conflict));
    }
    let key = to.key.as_str();
    let there = tables::versions::find(&mut transaction, target, key, latest).await?;
    let etag = there.as_ref().map(|there| there.etag.as_str());
    if !to.condition.holds(etag) {
        return Err(refused(TargetRefusal::ConditionFailed));
    }
    let replaced: Vec<VersionId> = there.into_iter().map(|there| there.id).collect();
    let gone = tables::parts::files_of(&mut transaction, &replaced).await?;
    files::lock_parts(&mut transaction, &gone).await?;
    tables::versions::delete(&mut transaction, &replaced).await?;
    release::end_unnamed(&mut transaction, &objects.entropy, &gone).await?;
    // Rows of buckets last, and in order.
    for id in ids {
        if id == from {
            let seq = tables::buckets::advance(&mut transaction, from, 1).await?;
            let (key, version) = (&source.key, source.id);
            tables::changes::note_removed(&mut transaction, from, seq, key, version).await?;
        }
        if id == target {
            let seq = tables::buckets::advance(&mut transaction, target, 1).await?;
            let place = (target, to.key);
            tables::versions::rename(&mut transaction, source.id, place, seq).await?;
        }
    }
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(source.id)
}

async fn in_two_steps(
    objects: &Objects,
    holder: Holder,
    (from, key): (&Bucket, &ObjectKey),
    source: &ObjectVersion,
    to: Destination<'_>,
) -> Result<VersionId, ObjectError> {
    let described = Described {
        condition: to.condition,
        ..copy::described(objects, source, to.key.clone()).await?
    };
    let moved = copy::copy(objects, holder, source, to.bucket, described).await?;
    let unchanged = WriteCondition::Etag(source.etag.clone());
    match delete::key(objects, holder, from, key, unchanged).await? {
        Deleted::Nothing => Err(refused(TargetRefusal::Conflict)),
        Deleted::Version(_) | Deleted::Marked(_) => Ok(moved),
    }
}
