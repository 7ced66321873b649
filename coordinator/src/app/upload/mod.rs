//! Bringing a file in: three steps (`initiate → chunks → complete`), or one streaming request that
//! walks through the same steps.

pub mod body;
pub mod chunk;
pub mod commit;
pub mod end;
pub mod put;
pub mod session;
pub mod stream;
pub mod whole;
pub mod whole_commit;

use jiff::Timestamp;
use proto::{BlobId, MicroCredits, NodeId};

use self::body::BodyError;
use self::commit::CommitError;
use crate::app::crypto_pool::TaskLost;
use crate::db::ledger::PostError;
use crate::domain::ids::{FileId, UploadId};
use crate::domain::ledger::UnbalancedTransfer;
use crate::domain::money::AmountTooLarge;
use crate::domain::placement::PlacementError;
use crate::domain::sealing::OpenError;

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
    #[error("an account may have at most {limit} files")]
    TooManyFiles { limit: u64 },
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
    #[error("{count} chunks are missing")]
    ChunksMissing { count: u64, first: Vec<u32> },
    #[error("a node lost its copy of {chunks} chunks while the file was sent")]
    CopiesLost { chunks: u64 },
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the chunk did not come in time")]
    TooSlow,
    #[error("the coordinator is stopping")]
    Stopping,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Internal(String),
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
            CommitError::Stopping => Self::Stopping,
            CommitError::Database(text) => {
                Self::Database(sqlx::Error::Io(std::io::Error::other(text)))
            }
        }
    }
}

impl From<chunk::StoreChunkError> for UploadError {
    fn from(error: chunk::StoreChunkError) -> Self {
        match error {
            chunk::StoreChunkError::Placement(error) => Self::Placement(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

macro_rules! internal {
    ($($error:ty),*) => {$(
        impl From<$error> for UploadError {
            fn from(error: $error) -> Self {
                Self::Internal(error.to_string())
            }
        }
    )*};
}

internal!(TaskLost, OpenError, UnbalancedTransfer, AmountTooLarge);

impl From<PostError> for UploadError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Database(error) => Self::Database(error),
            PostError::Insufficient {
                available, needed, ..
            } => Self::PaymentRequired {
                cost: needed,
                available,
            },
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

type InVain = Vec<(NodeId, BlobId)>;
