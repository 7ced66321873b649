//! Why something could not be stored or fetched, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::problem::ProblemKind;
use sealing::SealError;

use crate::rest::ApiError;

/// Longer than this nobody is made to wait for a coordinator that says when to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the last coordinator that was asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the coordinator was silent for {} s: is it, or the way to it, down?", .0.as_secs())]
    Stalled(Duration),
    #[error(
        "the coordinator answered {got} bytes where {expected} were asked for: try again, or ask another"
    )]
    WrongLength { expected: u64, got: u64 },
    #[error(
        "the content is not sealed with this key: use the key, or the profile, that it was stored with"
    )]
    WrongKey,
    #[error(
        "segment {segment} is not what was stored: it was changed, cut off or swapped on the way or where it is kept"
    )]
    Damaged { segment: u64 },
    #[error(
        "a chunk has not the digest that it was stored with: it was changed on the way or where it is kept"
    )]
    WrongDigest,
    #[error(
        "the content is not the one that its envelope tells of: it was cut off or swapped where it is kept"
    )]
    WrongContent,
    #[error(
        "the name {0} does not open: it was stored with another key, or changed where it is kept"
    )]
    ForeignName(String),
    #[error(
        "the coordinator shows another bucket as {0}, or says that it is not sealed: it was made sealed here. If it was \
         deleted and made anew elsewhere, make it here once more: that takes the one which is there"
    )]
    OtherBucket(String),
    #[error("{} was changed while it was being stored: nothing of it is stored; do so again", .0.display())]
    SourceChanged(PathBuf),
    #[error("{} is being stored by another process", .0.display())]
    UnderWay(PathBuf),
    #[error("sealed content needs a key, and this client has none: give it a recovery phrase")]
    NoRoot,
    #[error("{what}")]
    Unusable { what: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the content cannot be read: {0}")]
    Reading(#[source] io::Error),
    #[error(transparent)]
    Sealing(#[from] SealError),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn unusable(what: impl Into<String>) -> Self {
        Self::Unusable { what: what.into() }
    }

    pub fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Api(error) => error.kind(),
            _ => None,
        }
    }

    /// Whether the same request may well succeed a little later, or elsewhere.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Api(ApiError::Transport(error)) => !error.is_builder(),
            Self::Api(ApiError::Refused { status, .. }) => {
                let again = [408, 429, 500, 502, 503, 504].contains(&status.as_u16());
                let waits = matches!(
                    self.kind(),
                    Some(ProblemKind::UploadInProgress | ProblemKind::DigestPending)
                );
                (again || waits) && self.retry_after().is_none_or(|wait| wait <= LONGEST_WAIT)
            }
            Self::Stalled(_) | Self::WrongLength { .. } => true,
            _ => false,
        }
    }

    /// Whether it is the coordinator, or the way to it, that does not work.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Api(ApiError::Refused { status, .. }) => {
                [500, 502, 503, 504].contains(&status.as_u16())
            }
            error => error.is_passing(),
        }
    }

    /// Whether fewer requests at the same time would have been better.
    pub(crate) fn is_congestion(&self) -> bool {
        match self {
            Self::Api(ApiError::Refused { status, .. }) => [429, 503].contains(&status.as_u16()),
            Self::Stalled(_) => true,
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(ApiError::Refused { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}
