//! Finding a version of a key, and reading its bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use limits::memory::Holder;
use model::ids::{FileId, UserId, VersionId};
use model::objects::{Bucket, Envelope, ObjectPart, ObjectVersion, VersionRef, slices};

use super::{ObjectError, Objects, tables};
use crate::files::Files;
use crate::files::download::{self, Content, DownloadError};

/// The version that is meant; one that only says that the key was deleted is an error, as is none, and one whose time
/// is up.
pub async fn find(
    objects: &Objects,
    bucket: &Bucket,
    key: &str,
    version: VersionRef,
) -> Result<ObjectVersion, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    let found = tables::versions::find(&mut connection, bucket.id, key, version).await?;
    let missing = || match version {
        VersionRef::Latest => ObjectError::NoSuchKey,
        VersionRef::Null | VersionRef::Id(_) => ObjectError::NoSuchVersion,
    };
    let now = objects.clock.now();
    let found = found.filter(|found| found.expires_at.is_none_or(|at| at > now));
    let found = found.ok_or_else(missing)?;
    match found.is_marker {
        true => Err(ObjectError::Deleted(Box::new(found))),
        false => Ok(found),
    }
}

/// What end-to-end clients keep with these.
pub async fn envelopes(
    objects: &Objects,
    ids: &[VersionId],
) -> Result<HashMap<VersionId, Envelope>, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    Ok(tables::versions::envelopes(&mut connection, ids).await?)
}

/// The files that hold its bytes, in order.
pub async fn parts(
    objects: &Objects,
    version: &ObjectVersion,
) -> Result<Vec<ObjectPart>, ObjectError> {
    let mut connection = objects.db.acquire().await?;
    Ok(tables::parts::of(&mut connection, version.id).await?)
}

pub type Bytestream = BoxStream<'static, Result<Bytes, DownloadError>>;

/// Bytes of a version, in order. The first are there before this returns, so that an object that cannot be read at all
/// is an error and not a broken answer.
pub async fn read(
    objects: &Objects,
    owner: UserId,
    parts: &[ObjectPart],
    range: &Range<u64>,
    holder: Holder,
) -> Result<Bytestream, ObjectError> {
    let mut slices = slices(parts, range).into_iter();
    let Some((file, range)) = slices.next() else {
        return Ok(stream::empty().boxed());
    };
    let files = Arc::clone(&objects.files);
    let first = open(Arc::clone(&files), owner, file, range, holder).await;
    let first = first.map_err(|error| match error {
        DownloadError::NotFound => ObjectError::NoSuchKey, // overwritten meanwhile
        error => error.into(),
    })?;
    let rest = stream::iter(slices)
        .then(move |(file, range)| open(Arc::clone(&files), owner, file, range, holder))
        .try_flatten();
    let downloaded = objects.files.metrics.downloaded_bytes.clone();
    let counted = first.chain(rest).inspect_ok(move |bytes| {
        downloaded.inc_by(bytes.len() as u64);
    });
    Ok(counted.boxed())
}

async fn open(
    files: Arc<Files>,
    owner: UserId,
    file: FileId,
    range: Range<u64>,
    holder: Holder,
) -> Result<Bytestream, DownloadError> {
    let readable = download::open(&files, owner, file).await?;
    Ok(
        match download::read(files, readable, range, holder).await? {
            Content::Piece(piece) => stream::once(async { Ok(piece) }).boxed(),
            Content::Pieces(pieces) => pieces.boxed(),
        },
    )
}
