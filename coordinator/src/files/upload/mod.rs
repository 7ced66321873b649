//! Bringing a file in: three steps (`initiate → chunks → complete`), or one streaming request that
//! walks through the same steps.

mod allowance;
pub mod chunk_commit;
pub mod complete;
pub mod content_hash;
pub mod digest;
pub mod file_commit;
pub mod pointing;
pub mod put;
pub mod range;
mod resend;
mod send;
pub mod session;
pub mod single_chunk;
pub mod single_chunk_commit;
mod source;
pub mod stream;
pub mod turns;
pub mod tus;

use std::sync::Arc;

use jiff::Timestamp;
use kit::BatchError;
use ledger::{InvalidTransfer, PostError};
use proto::MicroCredits;

use self::chunk_commit::CommitError;
use self::file_commit::ExceedsFunds;
use crate::billing::charges::ChargeError;
use crate::blobs::ClassUnavailable;
use crate::blobs::body::BodyError;
use crate::blobs::crypto_pool::TaskLost;
use crate::blobs::put::StoreChunkError;
use crate::files::download::DownloadError;
use model::ids::{FileId, UploadId};
use model::money::AmountTooLarge;
use model::objects::TargetRefusal;
use model::terms::Terms;
use rules::allowance::FileLimit;
use rules::placement::PlacementError;
use sealing::SealError;

/// Why an upload, or one step of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("there is no such upload")]
    NotFound,
    #[error("the upload is no longer open")]
    Closed,
    #[error("the upload expired at {0}")]
    Expired(Timestamp),
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    #[error("an upload with this Idempotency-Key is under way")]
    InProgress,
    #[error("a file may have at most {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("an account may have at most {} files", .0.files)]
    TooManyFiles(FileLimit),
    #[error("an account may have at most {limit} uploads under way")]
    TooManyOpen { limit: u32 },
    #[error("an account that has not bought yet may have at most {limit} open uploads")]
    TooManyUploads { limit: u64 },
    #[error("chunks of an upload are taken again at most {limit} times")]
    TooManyResends { limit: u64 },
    #[error("the upload costs {cost} credits and {available} are available")]
    PaymentRequired {
        cost: MicroCredits,
        available: MicroCredits,
    },
    #[error("chunk {index} is beyond the last of {chunk_count}")]
    IndexOutOfRange { index: u32, chunk_count: u64 },
    #[error("chunk {index} has {expected} bytes, not {received}")]
    WrongLength {
        index: u32,
        expected: u32,
        received: Received,
    },
    #[error("a body may bring at most {limit} chunks")]
    TooManyAtOnce { limit: u32, next: u32 },
    #[error("{count} chunks are missing")]
    ChunksMissing { count: u64, first: Vec<u32> },
    #[error("a node lost its copy of {chunks} chunks while the file was sent")]
    CopiesLost { chunks: u64 },
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(transparent)]
    Class(#[from] ClassUnavailable),
    #[error("the request body broke off: {0}")]
    BrokeOff(String),
    #[error("the bytes are not those that the {algorithm} was taken of")]
    DigestMismatch { algorithm: &'static str },
    #[error("the file is still being read back for its digest")]
    DigestPending,
    /// What was sent cannot be read back.
    #[error(transparent)]
    ReadBack(#[from] DownloadError),
    /// What was to point to the file cannot.
    #[error(transparent)]
    Refused(#[from] TargetRefusal),
    #[error("the request body came too slowly")]
    TooSlow,
    #[error("the coordinator is stopping")]
    Stopping,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The batch that it was written with was not taken.
    #[error("the database did not take it")]
    NotWritten(#[source] Arc<sqlx::Error>),
    #[error(transparent)]
    Internal(anyhow::Error),
}

/// How many bytes a chunk turned out to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    Exactly(usize),
    MoreThan(usize),
}

impl std::fmt::Display for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(bytes) => write!(f, "{bytes}"),
            Self::MoreThan(bytes) => write!(f, "more than {bytes}"),
        }
    }
}

impl From<CommitError> for UploadError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::SessionClosed => Self::Closed,
            CommitError::NotWritten(error) => error.into(),
            CommitError::Database(error) => Self::NotWritten(error),
        }
    }
}

impl From<BatchError> for UploadError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Stopped => Self::Stopping,
            error => Self::Internal(error.into()),
        }
    }
}

impl From<BodyError> for UploadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::BrokeOff(how) => Self::BrokeOff(how),
            BodyError::TooSlow => Self::TooSlow,
        }
    }
}

impl From<StoreChunkError> for UploadError {
    fn from(error: StoreChunkError) -> Self {
        match error {
            StoreChunkError::Placement(error) => Self::Placement(error),
            other => Self::Internal(other.into()),
        }
    }
}

macro_rules! internal {
    ($($error:ty),*) => {$(
        impl From<$error> for UploadError {
            fn from(error: $error) -> Self {
                Self::Internal(error.into())
            }
        }
    )*};
}

internal!(
    TaskLost,
    SealError,
    InvalidTransfer,
    ExceedsFunds,
    AmountTooLarge
);

impl From<PostError> for UploadError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Database(error) => Self::Database(error),
            PostError::Invalid(error) => error.into(),
            error @ PostError::UnknownAccount(_) => Self::Internal(error.into()),
            PostError::Insufficient {
                available, needed, ..
            } => Self::PaymentRequired {
                cost: needed,
                available,
            },
        }
    }
}

impl From<ChargeError> for UploadError {
    fn from(error: ChargeError) -> Self {
        match error {
            ChargeError::Database(error) => Self::Database(error),
            ChargeError::Ledger(error) => error.into(),
            error => Self::Internal(error.into()),
        }
    }
}

/// What a session was opened with.
#[derive(Debug, Clone)]
pub struct Session {
    pub upload_id: UploadId,
    pub file_id: FileId,
    pub chunk_size: u32,
    pub chunk_count: Option<u64>,
    pub terms: Terms,
    pub cost: MicroCredits,
    pub expires_at: Timestamp,
}

/// A chunk that is safe.
#[derive(Debug, Clone, Copy)]
pub struct AcceptedChunk {
    pub index: u32,
    pub size_bytes: u32,
    pub sha256: [u8; 32],
    pub replicas: u32,
}
