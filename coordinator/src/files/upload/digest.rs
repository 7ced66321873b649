//! The digest of a file whose chunks came one by one: they may come in any order and be sent again, so they are read
//! back once all are there, verified as in a download.
//!
//! How far it has come is entered on the way, with the hash function's own state, so that files of any size get
//! there, whoever goes on. A digest that the client declares is compared before the file becomes visible; else it is
//! computed after, at once for what is quickly read, and by a job for the rest. Rejected: hashing what arrives, which
//! only a client that sends one chunk after the other would have gained from; and a digest of the chunks' digests,
//! which no other program computes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::files::Files;
use crate::files::download::{self, DownloadError, SealedFile};
use crate::files::tables::digests::{self, Progress};
use crate::files::upload::{UploadError, put};
use model::file::File;
use model::ids::{FileId, UploadId, UserId};

/// Chunks between two entries of how far it has come.
const SAVE_EVERY: u32 = 64;

/// What a client that declares a digest waits for at most, at a time.
const BUDGET: Duration = Duration::from_secs(10);

/// Files that are no longer than this get theirs before `complete` answers, if it does not take longer than that.
const AT_ONCE_BYTES: u64 = 64 * 1024 * 1024;
const AT_ONCE: Duration = Duration::from_secs(2);

/// When the job takes a file that `complete` did not finish.
pub(super) const JOB_AFTER: Duration = Duration::from_secs(30);

/// One step of the job; and how long nobody else takes the file meanwhile.
const STEP: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(120);

/// A file that cannot be read now is tried again after this time.
const RETRY: Duration = Duration::from_secs(600);

/// Compares what has been sent in an open session with what its client declares.
pub(super) async fn verify(
    files: &Arc<Files>,
    user: UserId,
    id: UploadId,
    declared: [u8; 32],
) -> Result<(), UploadError> {
    let (_, file, key) = put::open_session(files, user, id).await?;
    let layout = file.layout().ok_or(UploadError::InProgress)?;
    let file = SealedFile {
        id: file.id,
        layout,
        scheme: key.scheme,
        key: Arc::clone(&key.data_key),
    };
    let mut connection = files.db.acquire().await?;
    let progress = digests::begin(&mut connection, file.id).await?;
    drop(connection);
    match hash_on(files, user, &file, progress, Instant::now() + BUDGET).await? {
        Some(sha256) if sha256 == declared => Ok(()),
        Some(_) => Err(UploadError::DigestMismatch {
            algorithm: "SHA-256",
        }),
        None => Err(UploadError::DigestPending),
    }
}

/// Of a stored file that has none yet, for a client that waits for it.
pub(super) async fn of_stored(files: &Arc<Files>, file: &File) -> Result<[u8; 32], UploadError> {
    let mut connection = files.db.acquire().await?;
    let progress = digests::begin(&mut connection, file.id).await?;
    drop(connection);
    let until = Instant::now() + BUDGET;
    let sha256 = compute(files, file.user_id, file.id, progress, until).await?;
    sha256.ok_or(UploadError::DigestPending)
}

/// Of a file that has just become visible, if it is quickly read; else it is the job's.
pub(super) async fn at_once(files: &Arc<Files>, file: &File) -> Option<[u8; 32]> {
    if file.layout.size_bytes > AT_ONCE_BYTES {
        return None;
    }
    let hashing = of_stored(files, file);
    match tokio::time::timeout(AT_ONCE, hashing).await {
        Ok(Ok(sha256)) => Some(sha256),
        Ok(Err(error)) => {
            tracing::debug!(file_id = %file.id, %error, "a digest is computed later");
            None
        }
        Err(_) => None,
    }
}

/// Goes on with one stored file that waits; `false` when none does.
pub async fn step(files: &Arc<Files>) -> Result<bool, UploadError> {
    let mut connection = files.db.acquire().await?;
    let Some(due) = digests::take_due(&mut connection, LEASE).await? else {
        return Ok(false);
    };
    drop(connection);
    let id = due.file_id;
    let until = Instant::now() + STEP;
    let pause = match compute(files, due.user_id, id, due.progress, until).await {
        Ok(Some(_)) => return Ok(true),
        Ok(None) => Duration::ZERO,
        Err(DownloadError::Database(error)) => return Err(error.into()),
        Err(error) => {
            tracing::debug!(file_id = %id, %error, "a digest cannot be computed now");
            RETRY
        }
    };
    let mut connection = files.db.acquire().await?;
    digests::put_off(&mut connection, id, pause).await?;
    Ok(true)
}

async fn compute(
    files: &Arc<Files>,
    user: UserId,
    id: FileId,
    progress: Progress,
    until: Instant,
) -> Result<Option<[u8; 32]>, DownloadError> {
    let file = download::open(files, user, id).await?.sealed();
    let Some(sha256) = hash_on(files, user, &file, progress, until).await? else {
        return Ok(None);
    };
    let mut connection = files.db.acquire().await?;
    Ok(digests::finish(&mut connection, id, &sha256).await?)
}

/// Reads and hashes on, and enters how far it came; `None` when there was no time for all of it.
async fn hash_on(
    files: &Arc<Files>,
    user: UserId,
    file: &SealedFile,
    mut progress: Progress,
    until: Instant,
) -> Result<Option<[u8; 32]>, DownloadError> {
    let count = file.layout.chunk_count() as u32;
    let mut hasher = match progress.state.as_deref() {
        Some(state) => restored(state)?,
        None => Sha256::new(),
    };
    let rest = u64::from(progress.next_index)..u64::from(count);
    let chunks = download::read_back(files, file, rest, user);
    let mut chunks = pin!(chunks);
    while let Some(chunk) = chunks.try_next().await? {
        let hashing = move || {
            hasher.update(&chunk);
            hasher
        };
        hasher = files.blobs.crypto.run(hashing).await?;
        progress.next_index += 1;
        let is_late = progress.next_index < count && Instant::now() >= until;
        if is_late || progress.next_index.is_multiple_of(SAVE_EVERY) {
            progress.state = Some(hasher.serialize().to_vec());
            let mut connection = files.db.acquire().await?;
            digests::save(&mut connection, file.id, &progress).await?;
        }
        if is_late {
            return Ok(None);
        }
    }
    Ok(Some(hasher.finalize().into()))
}

fn restored(state: &[u8]) -> Result<Sha256, DownloadError> {
    let restored = state
        .try_into()
        .ok()
        .and_then(|state| Sha256::deserialize(state).ok());
    restored.ok_or_else(|| DownloadError::Internal("file_digests.state cannot be read".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_goes_on_where_it_stood() {
        let text: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        for cut in [0, 1, 63, 64, 65, 999, 1000] {
            let mut hasher = Sha256::new();
            hasher.update(&text[..cut]);
            let state = hasher.serialize().to_vec();
            assert!(state.len() <= 256, "{}", state.len());
            let mut hasher = restored(&state).unwrap();
            hasher.update(&text[cut..]);
            assert_eq!(hasher.finalize(), Sha256::digest(&text));
        }
        assert!(restored(b"short").is_err());
    }
}
