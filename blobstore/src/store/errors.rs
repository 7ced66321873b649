//! Why a store cannot be opened, and why a blob is not stored.

use std::io;
use std::path::PathBuf;

use crate::blob::MAX_BLOB_LEN;
use crate::catalogue::CatalogueError;
use crate::layout::ReconcileError;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} cannot be opened as a blob store: {source}", dir.display())]
    Layout { dir: PathBuf, source: io::Error },
    #[error(
        "{} is damaged ({error}); make it anew from the blobs with \
         `storage-node chunks verify --rebuild`",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        error: CatalogueError,
    },
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error("the writer thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Why a blob was not stored. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    #[error("{0}")]
    Full(String),
    #[error("the bytes do not hash to the blob id")]
    HashMismatch,
    #[error("a blob has 1 to {MAX_BLOB_LEN} bytes")]
    BadLength,
    #[error("{0}")]
    Io(String),
    #[error("the store is closed")]
    Closed,
}
