//! What owners set for their buckets: which pages may ask for objects, what anybody may read, how long objects are kept.

use std::net::Ipv4Addr;
use std::time::Duration;

use limits::memory::Holder;
use model::bucket_rules::{BucketRules, InvalidRules, RulesChange};
use model::names::ObjectKey;
use model::objects::{Bucket, ListEntry, WriteCondition};
use rules::lifecycle::is_due;
use rules::listing::{Listing, Start};

use super::{ObjectError, Objects, delete, listing, tables};
use crate::files::upload::UploadError;

pub async fn of(objects: &Objects, bucket: &Bucket) -> Result<BucketRules, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    Ok(tables::bucket_rules::of(&mut connection, bucket.id).await?)
}

/// Of whoever's bucket has this name. Nothing is told of one whose owner is suspended.
pub async fn of_any(
    objects: &Objects,
    name: &str,
) -> Result<Option<(Bucket, BucketRules)>, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let Some(bucket) = tables::buckets::by_name(&mut connection, name).await? else {
        return Ok(None);
    };
    if tables::bucket_rules::is_suspended(&mut connection, bucket.id).await? {
        return Ok(None);
    }
    let rules = tables::bucket_rules::of(&mut connection, bucket.id).await?;
    Ok(Some((bucket, rules)))
}

/// Why rules were not set.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Invalid(#[from] InvalidRules),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

pub async fn change(
    objects: &Objects,
    bucket: &Bucket,
    change: &RulesChange,
) -> Result<(), RulesError> {
    change.check()?;
    let written = async {
        let mut transaction = objects.db.begin().await?;
        if tables::buckets::share(&mut transaction, &[bucket.id])
            .await?
            .is_empty()
        {
            return Err(ObjectError::NoSuchBucket);
        }
        tables::bucket_rules::change(&mut transaction, bucket.id, change).await?;
        transaction.commit().await?;
        Ok(())
    };
    Ok(written.await?)
}

/// Keys that one step looks at.
const PAGE: u32 = 500;

/// A step takes no longer than this.
const LEASE: Duration = Duration::from_secs(600);

/// A bucket is looked through once in so long.
const EVERY: Duration = Duration::from_secs(3600);

/// Looks at some keys of a bucket that has lifecycle rules, and deletes those whose time is up as their owner would;
/// `false` when there is no bucket to look at.
pub async fn walk_one(objects: &Objects) -> Result<bool, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let taken = tables::bucket_rules::take_one_to_walk(&mut connection, LEASE).await?;
    drop(connection);
    let Some((bucket, rules, from)) = taken else {
        return Ok(false);
    };
    let asked = Listing {
        start: match from.as_str() {
            "" => Start::beginning(),
            key => Start::after_key(key),
        },
        limit: PAGE,
        ..Listing::default()
    };
    let page = listing::keys(objects, &bucket, &asked).await?;
    let now = objects.clock.now();
    let mut to = "";
    for entry in &page.entries {
        let ListEntry::Object(version) = entry else {
            continue;
        };
        to = &version.key;
        if is_due(&rules.lifecycle, &version.key, version.created_at, now) {
            let etag = WriteCondition::Etag(version.etag.clone());
            expire(objects, &bucket, &version.key, etag).await?;
        }
    }
    let (to, pause) = match page.next {
        Some(_) => (to, Duration::ZERO),
        None => ("", EVERY),
    };
    let mut connection = objects.db.acquire().await?;
    tables::bucket_rules::note_walk(&mut connection, bucket.id, (&from, to), pause).await?;
    Ok(true)
}

async fn expire(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    unchanged: WriteCondition,
) -> Result<(), ObjectError> {
    let Ok(key) = ObjectKey::sealed(key.to_owned()) else {
        return Ok(()); // keys that are stored have been looked at
    };
    let holder = Holder {
        account: bucket.owner,
        address: Ipv4Addr::LOCALHOST.into(),
    };
    match delete::key(objects, holder, bucket, &key, unchanged).await {
        // Overwritten meanwhile, or its owner cannot pay for a marker: it ends when it is not paid for any longer.
        Err(ObjectError::Upload(
            UploadError::Refused(_)
            | UploadError::PaymentRequired { .. }
            | UploadError::TooManyFiles(_),
        )) => Ok(()),
        deleted => deleted.map(|_| ()),
    }
}
