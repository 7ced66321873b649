//! What points to files: names, which a concern above this one keeps. A name moves in the transaction that makes its file
//! visible, so that whoever asks finds the old file or the new one, whole, and never neither.
//!
//! Files do not know names. They hand what a client wanted, a [`Target`], through the upload, and whoever keeps names is
//! called twice: before users and accounts are locked, since names are locked first, and when all else is written.

use futures::future::BoxFuture;
use jiff::Timestamp;
use ledger::PostError;
use model::file::File;
use model::ids::{FileId, UploadId};
use model::objects::{Target, TargetRefusal};
use sqlx::PgConnection;

use crate::billing::charges::ChargeError;

/// Whoever keeps names.
pub trait Pointing: Send + Sync {
    /// Locks names, and the files of what they point to. Says of each target, in order, whether it may be pointed at a
    /// new file: as long as the transaction lasts, that stays so.
    fn lock<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        targets: Vec<&'a Target>,
    ) -> BoxFuture<'a, sqlx::Result<Vec<Result<(), TargetRefusal>>>>;

    /// Keeps what an upload in steps is to become.
    fn remember<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        upload: UploadId,
        target: &'a Target,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// What it is to become, if it is not a file by itself.
    fn recall<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        upload: UploadId,
    ) -> BoxFuture<'a, sqlx::Result<Option<Target>>>;

    /// Has locked targets point to stored files, in order. What nothing points to any more ends.
    fn point<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        pointed: Vec<Pointed<'a>>,
    ) -> BoxFuture<'a, Result<(), ChargeError>>;
}

/// A target, and the file that it is to point to.
#[derive(Debug, Clone, Copy)]
pub struct Pointed<'a> {
    pub target: &'a Target,
    pub file: FileId,
    pub size_bytes: u64,
    pub at: Timestamp,
}

impl<'a> Pointed<'a> {
    pub fn at(target: &'a Target, file: &File) -> Self {
        Self {
            target,
            file: file.id,
            size_bytes: file.layout.size_bytes,
            at: file.completed_at,
        }
    }
}

/// For a writer of batches, to whom an amount that no account can hold is a value that the database cannot take.
pub fn as_database_error(error: ChargeError) -> sqlx::Error {
    match error {
        ChargeError::Database(error) | ChargeError::Ledger(PostError::Database(error)) => error,
        error => sqlx::Error::Encode(Box::new(error)),
    }
}
