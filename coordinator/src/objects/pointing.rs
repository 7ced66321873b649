//! Where names begin to point to a file: in the transaction that makes it visible, whichever way its bytes came.
//!
//! Locked are, in this order, keys, their buckets against being deleted, uploads in parts, files; then, by others, users
//! and accounts; and last the rows of the buckets, which number the changes. So many can write to a bucket at once, and its
//! changes still have no gap: whoever has a number commits next. Rejected: the bucket's row first, behind which all
//! writers of a bucket would wait while accounts are locked and nodes' earnings written.

use std::collections::{BTreeSet, HashSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use kit::Entropy;
use proto::FileId;
use sqlx::PgConnection;

use super::release;
use super::tables::versions::NewVersion;
use super::tables::{buckets, locks, multiparts, parts, upload_targets, versions};
use crate::billing::charges::ChargeError;
use crate::files::tables::files;
use crate::files::upload::pointing::{Pointed, Pointing};
use model::ids::{BucketId, UploadId, VersionId};
use model::objects::{
    MultipartPart, NewObject, NewPart, ObjectContent, ObjectPart, Target, TargetRefusal,
};
use rules::pointing::{Places, Standing, Verdict};

/// Has keys, and parts of objects, point to files.
pub struct KeyPointing {
    pub entropy: Entropy,
}

impl Pointing for KeyPointing {
    fn lock<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        targets: Vec<&'a Target>,
    ) -> BoxFuture<'a, sqlx::Result<Vec<Verdict>>> {
        async move { lock(connection, &targets).await }.boxed()
    }

    fn remember<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        upload: UploadId,
        target: &'a Target,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            match target {
                Target::Object(object) => upload_targets::insert(connection, upload, object).await,
                Target::Part(_) => Ok(()), // these come in one request alone
            }
        }
        .boxed()
    }

    fn recall<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        upload: UploadId,
    ) -> BoxFuture<'a, sqlx::Result<Option<Target>>> {
        async move {
            let found = upload_targets::find(connection, upload).await?;
            Ok(found.map(Target::Object))
        }
        .boxed()
    }

    fn point<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        pointed: Vec<Pointed<'a>>,
    ) -> BoxFuture<'a, Result<(), ChargeError>> {
        async move {
            // A key that is written twice: the second write takes the place of the first.
            let mut rest = &pointed[..];
            while !rest.is_empty() {
                let mut seen = HashSet::new();
                let distinct = rest
                    .iter()
                    .take_while(|next| seen.insert(next.target.lock()));
                let (round, later) = rest.split_at(distinct.count());
                point(connection, &self.entropy, round).await?;
                rest = later;
            }
            Ok(())
        }
        .boxed()
    }
}

async fn lock(connection: &mut PgConnection, targets: &[&Target]) -> sqlx::Result<Vec<Verdict>> {
    locks::lock_keys(
        connection,
        targets.iter().map(|target| target.lock()).collect(),
    )
    .await?;
    let known = Known::read(connection, targets).await?;
    let mut seen = HashSet::new();
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(targets.len());
    for (target, standing) in targets.iter().zip(&known.standing) {
        let first = seen.insert(target.lock());
        verdicts.push(known.places.verdict(target, standing, first));
    }
    let alive = lock_files(connection, targets, &known).await?;
    for (target, verdict) in targets.iter().zip(&mut verdicts) {
        if verdict.is_ok() && !target.sources().all(|file| alive.contains(&file)) {
            *verdict = Err(TargetRefusal::SourceGone);
        }
    }
    Ok(verdicts)
}

/// What is locked, and stays as it is.
struct Known {
    places: Places,
    /// Of each target's key; nothing of parts.
    standing: Vec<Vec<Standing>>,
}

impl Known {
    async fn read(connection: &mut PgConnection, targets: &[&Target]) -> sqlx::Result<Self> {
        let mut ids: Vec<BucketId> = objects(targets).map(|object| object.bucket).collect();
        ids.sort_unstable();
        ids.dedup();
        let buckets = buckets::share(connection, &ids).await?;
        let mut multiparts = HashSet::new();
        let completed: Vec<_> = objects(targets).filter_map(NewObject::completes).collect();
        if !completed.is_empty() {
            multiparts.extend(multiparts::lock(connection, &completed).await?);
        }
        let entered: Vec<_> = entered(targets).map(|part| part.multipart).collect();
        if !entered.is_empty() {
            multiparts.extend(multiparts::share(connection, &entered).await?);
        }
        let keys: Vec<_> = objects(targets)
            .map(|object| (object.bucket, object.described.key.as_str()))
            .collect();
        let mut of_objects = versions::standing(connection, &keys).await?.into_iter();
        let standing = targets.iter().map(|target| match target {
            Target::Object(_) => of_objects.next().unwrap_or_default(),
            Target::Part(_) => Vec::new(),
        });
        Ok(Self {
            standing: standing.collect(),
            places: Places {
                buckets,
                multiparts,
            },
        })
    }

    fn all_replaced(&self, targets: &[&Target]) -> Vec<VersionId> {
        let with_standing = targets.iter().zip(&self.standing);
        let replaced = with_standing.filter_map(|(target, standing)| match target {
            Target::Object(object) => self.places.replaced(object, standing),
            Target::Part(_) => None,
        });
        replaced.collect()
    }
}

fn objects<'a>(targets: &[&'a Target]) -> impl Iterator<Item = &'a NewObject> {
    targets.iter().copied().filter_map(|target| match target {
        Target::Object(object) => Some(object),
        Target::Part(_) => None,
    })
}

fn entered<'a>(targets: &[&'a Target]) -> impl Iterator<Item = &'a NewPart> {
    targets.iter().copied().filter_map(|target| match target {
        Target::Object(_) => None,
        Target::Part(part) => Some(part),
    })
}

/// Locks what is pointed at, and what was until now; those that are there.
async fn lock_files(
    connection: &mut PgConnection,
    targets: &[&Target],
    known: &Known,
) -> sqlx::Result<HashSet<FileId>> {
    let mut wanted: BTreeSet<FileId> = targets.iter().flat_map(|target| target.sources()).collect();
    wanted.extend(let_go(connection, targets, known).await?);
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let wanted: Vec<FileId> = wanted.into_iter().collect();
    let locked = files::lock_parts(connection, &wanted).await?;
    Ok(locked.into_iter().map(|file| file.id).collect())
}

/// Files that something pointed to that is about to point elsewhere.
async fn let_go(
    connection: &mut PgConnection,
    targets: &[&Target],
    known: &Known,
) -> sqlx::Result<Vec<FileId>> {
    let mut gone = Vec::new();
    let replaced = known.all_replaced(targets);
    if !replaced.is_empty() {
        gone.extend(parts::files_of(connection, &replaced).await?);
    }
    let completed: Vec<_> = objects(targets).filter_map(NewObject::completes).collect();
    if !completed.is_empty() {
        gone.extend(multiparts::files_of(connection, &completed).await?);
    }
    let entered: Vec<_> = entered(targets)
        .map(|part| (part.multipart, part.number))
        .collect();
    if !entered.is_empty() {
        gone.extend(multiparts::files_at(connection, &entered).await?);
    }
    Ok(gone)
}

/// Of targets that name each thing once.
async fn point(
    connection: &mut PgConnection,
    entropy: &Entropy,
    pointed: &[Pointed<'_>],
) -> Result<(), ChargeError> {
    let targets: Vec<&Target> = pointed.iter().map(|pointed| pointed.target).collect();
    let known = Known::read(connection, &targets).await?;
    let gone = let_go(connection, &targets, &known).await?;
    let replaced = known.all_replaced(&targets);
    if !replaced.is_empty() {
        versions::delete(connection, &replaced).await?;
    }
    let standing = known.standing.iter().flatten();
    let demoted: Vec<_> = standing
        .filter(|version| version.is_latest && !replaced.contains(&version.id))
        .map(|version| version.id)
        .collect();
    if !demoted.is_empty() {
        versions::demote(connection, &demoted).await?;
    }
    for pointed in pointed {
        match pointed.target {
            Target::Part(part) => enter(connection, part, pointed).await?,
            Target::Object(object) => {
                if let Some(multipart) = object.completes() {
                    multiparts::mark_completed(connection, multipart, object.version).await?;
                }
            }
        }
    }
    // What is pointed at anew stays, though nothing says so yet.
    let kept: HashSet<FileId> = targets.iter().flat_map(|target| target.sources()).collect();
    let gone: Vec<_> = gone
        .into_iter()
        .filter(|file| !kept.contains(file))
        .collect();
    release::end_unnamed(connection, entropy, &gone).await?;
    write_versions(connection, &known, pointed).await?;
    Ok(())
}

async fn enter(
    connection: &mut PgConnection,
    part: &NewPart,
    pointed: &Pointed<'_>,
) -> sqlx::Result<()> {
    let Some(sum) = part.sum.get() else {
        return Ok(()); // was looked at before
    };
    let entered = MultipartPart {
        number: part.number,
        file_id: pointed.file,
        size_bytes: pointed.size_bytes,
        etag: sum.etag.clone(),
        checksum: sum.checksum.clone(),
        stored_at: pointed.at,
    };
    multiparts::put_part(connection, part.multipart, &entered).await
}

/// The last to be done: it numbers the changes.
async fn write_versions(
    connection: &mut PgConnection,
    known: &Known,
    pointed: &[Pointed<'_>],
) -> sqlx::Result<()> {
    let objects = pointed.iter().filter_map(|pointed| match pointed.target {
        Target::Object(object) => Some((object, pointed)),
        Target::Part(_) => None,
    });
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_key(|(object, _)| object.bucket); // buckets are locked in order
    let mut rows = Vec::with_capacity(objects.len());
    let mut named = Vec::with_capacity(objects.len());
    for of_bucket in objects.chunk_by(|(one, _), (other, _)| one.bucket == other.bucket) {
        let Some((first, _)) = of_bucket.first() else {
            continue;
        };
        let last = buckets::advance(connection, first.bucket, of_bucket.len()).await?;
        let numbers = last - of_bucket.len() as i64 + 1..;
        let keeps = known.places.keeps(first.bucket);
        for ((object, pointed), change_seq) in of_bucket.iter().zip(numbers) {
            rows.push(row(object, pointed, !keeps, change_seq));
            named.extend(parts_of(object, pointed));
        }
    }
    if !rows.is_empty() {
        versions::insert(connection, &rows).await?;
        parts::insert(connection, &named).await?;
    }
    Ok(())
}

fn row<'a>(
    object: &'a NewObject,
    pointed: &Pointed<'_>,
    is_null: bool,
    change_seq: i64,
) -> NewVersion<'a> {
    let (sum, size_bytes) = match &object.content {
        ObjectContent::File(slot) => (slot.get(), pointed.size_bytes),
        ObjectContent::Parts { parts, sum, .. } => {
            (Some(sum), parts.iter().map(|part| part.size_bytes).sum())
        }
        ObjectContent::Marker => (None, 0),
    };
    NewVersion {
        bucket: object.bucket,
        id: object.version,
        described: &object.described,
        is_null,
        etag: sum.map(|sum| sum.etag.as_str()),
        size_bytes,
        checksum: sum.and_then(|sum| sum.checksum.as_ref()),
        change_seq,
        at: pointed.at,
    }
}

fn parts_of(object: &NewObject, pointed: &Pointed<'_>) -> Vec<(VersionId, ObjectPart)> {
    let own = |number| ObjectPart {
        number,
        file_id: pointed.file,
        size_bytes: pointed.size_bytes,
        md5: None,
    };
    let parts = match &object.content {
        ObjectContent::File(_) => vec![own(1)],
        ObjectContent::Marker => vec![own(0)],
        ObjectContent::Parts { parts, .. } => {
            let own = std::iter::once(own(0));
            own.chain(parts.iter().cloned()).collect()
        }
    };
    parts
        .into_iter()
        .map(|part| (object.version, part))
        .collect()
}
