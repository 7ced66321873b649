//! The digests of what a client sends, taken in the order of its bytes beside whatever else is done with them, and
//! compared with what the client says they are.

use std::sync::Arc;

use md5::Md5;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;

use crate::blobs::body::ChunkBody;
use crate::blobs::crypto_pool::TaskLost;
use crate::files::Files;
use crate::files::upload::UploadError;
use model::file::File;
use model::upload::DeclaredDigests;

/// What a body turned out to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub size_bytes: u64,
    pub sha256: [u8; 32],
}

impl Content {
    /// The file that an earlier request under the same `Idempotency-Key` has stored, if this is its content. Of a file
    /// without a digest, only the length is known.
    pub fn repeats(&self, stored: File) -> Result<File, UploadError> {
        let same = self.size_bytes == stored.layout.size_bytes
            && stored.sha256.is_none_or(|sha256| sha256 == self.sha256);
        same.then_some(stored).ok_or(UploadError::KeyReused)
    }
}

/// Of a body that is a single chunk.
pub(super) async fn of_chunk(
    files: &Files,
    declared: DeclaredDigests,
    chunk: ChunkBody,
) -> Result<Content, UploadError> {
    let length = chunk.len();
    let hashing = move || {
        let mut hasher = ContentHasher::new(&declared);
        hasher.update(&chunk);
        hasher.finish(&declared)
    };
    files.blobs.crypto.run_over(length, hashing).await?
}

#[derive(Debug, Clone)]
struct ContentHasher {
    bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
}

impl ContentHasher {
    fn new(declared: &DeclaredDigests) -> Self {
        Self {
            bytes: 0,
            sha256: Sha256::new(),
            md5: declared.md5.map(|_| Md5::new()),
        }
    }

    fn update(&mut self, chunk: &ChunkBody) {
        self.bytes += chunk.len() as u64;
        for piece in chunk.pieces() {
            self.sha256.update(piece);
            if let Some(md5) = &mut self.md5 {
                md5.update(piece);
            }
        }
    }

    fn finish(self, declared: &DeclaredDigests) -> Result<Content, UploadError> {
        let sha256: [u8; 32] = self.sha256.finalize().into();
        let md5: Option<[u8; 16]> = self.md5.map(|md5| md5.finalize().into());
        if declared.sha256.is_some_and(|declared| declared != sha256) {
            return Err(UploadError::DigestMismatch {
                algorithm: "SHA-256",
            });
        }
        if declared.md5.is_some() && declared.md5 != md5 {
            return Err(UploadError::DigestMismatch { algorithm: "MD5" });
        }
        Ok(Content {
            size_bytes: self.bytes,
            sha256,
        })
    }
}

/// Of a body that comes chunk by chunk: one is hashed while the next one is read.
pub(super) struct RunningHash {
    files: Arc<Files>,
    declared: DeclaredDigests,
    state: State,
}

enum State {
    Idle(ContentHasher),
    Busy(AbortOnDropHandle<Result<ContentHasher, TaskLost>>),
    Lost,
}

impl RunningHash {
    pub(super) fn new(files: &Arc<Files>, declared: DeclaredDigests) -> Self {
        Self {
            files: Arc::clone(files),
            declared,
            state: State::Idle(ContentHasher::new(&declared)),
        }
    }

    /// Waits for the chunk before, and begins with this one.
    pub(super) async fn add(&mut self, chunk: ChunkBody) -> Result<(), UploadError> {
        let mut hasher = self.idle().await?;
        let files = Arc::clone(&self.files);
        self.state = State::Busy(AbortOnDropHandle::new(tokio::spawn(async move {
            let hashing = move || {
                hasher.update(&chunk);
                hasher
            };
            files.blobs.crypto.run(hashing).await
        })));
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<Content, UploadError> {
        self.idle().await?.finish(&self.declared)
    }

    async fn idle(&mut self) -> Result<ContentHasher, UploadError> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(hasher) => Ok(hasher),
            State::Busy(task) => {
                let hashed = task
                    .await
                    .map_err(|error| UploadError::Internal(error.into()))?;
                Ok(hashed?)
            }
            State::Lost => Err(TaskLost.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn hashed(declared: DeclaredDigests) -> Result<Content, UploadError> {
        let mut hasher = ContentHasher::new(&declared);
        hasher.update(&ChunkBody::from(Bytes::from_static(b"hello ")));
        hasher.update(&ChunkBody::from(Bytes::from_static(b"world")));
        hasher.finish(&declared)
    }

    #[test]
    fn what_is_declared_has_to_be_true() {
        let sha256 = Sha256::digest(b"hello world").into();
        let md5 = Md5::digest(b"hello world").into();
        let right = DeclaredDigests {
            sha256: Some(sha256),
            md5: Some(md5),
        };
        for declared in [DeclaredDigests::default(), right] {
            let content = hashed(declared).unwrap();
            assert_eq!((content.size_bytes, content.sha256), (11, sha256));
        }
        for wrong in [
            DeclaredDigests {
                sha256: Some([0; 32]),
                ..right
            },
            DeclaredDigests {
                md5: Some([0; 16]),
                ..right
            },
        ] {
            let refused = hashed(wrong);
            assert!(matches!(refused, Err(UploadError::DigestMismatch { .. })));
        }
    }
}
